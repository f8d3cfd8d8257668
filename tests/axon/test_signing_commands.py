"""The commands `axon sign` and `axon verify`, as a user runs these."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving import CHECKPOINTS

from axon.cli import main
from models.signatures.keys import new_key_pair
from models.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AXON_TRUSTED_KEYS", raising=False)
    monkeypatch.setenv("AXON_STORE", str(tmp_path / "store"))
    store = Store(tmp_path / "store")
    store.publish("price", CHECKPOINTS["price"])
    new_key_pair(tmp_path / "key.pem")
    return store


def said(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    return out + err


def test_a_version_is_signed_and_verified(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sign", "--new-key", "new.pem"]) == 0
    assert said(capsys).startswith("wrote new.pem (private) and new.pem.pub (public): the key ")
    store.version("price", 1).path.with_name("README.md").write_text("card")
    assert main(["sign", "price@1", "--key", "key.pem"]) == 0
    signed = said(capsys)
    assert signed.startswith("signed price@1 by the key ")
    assert signed.endswith("README.md, model.safetensors\n")
    assert main(["verify", "price", "--key", "key.pem.pub"]) == 0
    assert said(capsys) == signed.replace("signed price@1 by", "price@1 is signed by")
    store.version("price", 1).path.with_name("README.md").write_text("another")
    assert main(["verify", "price", "--key", "key.pem.pub"]) == 2
    assert "README.md: was altered after the version was signed." in said(capsys)


def test_the_trusted_keys_of_the_variable_verify_too(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["verify", "price"]) == 2
    assert "--key FILE, or AXON_TRUSTED_KEYS" in said(capsys)
    monkeypatch.setenv("AXON_TRUSTED_KEYS", "key.pem.pub")
    assert main(["verify", "price"]) == 2
    assert "is not signed" in said(capsys)
    assert main(["sign", "price", "--key", "key.pem"]) == 0
    assert main(["verify", "price"]) == 0


def test_refusals_are_one_sentence(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for given, reason in (
        (["sign", "price@2", "--key", "key.pem"], "has no version 2"),
        (["sign", "price", "--key", "nowhere.pem"], "nowhere.pem cannot be read"),
        (["sign", "price", "--key", "key.pem.pub"], "key.pem.pub holds a public key"),
        (["sign", "--new-key", "key.pem"], "exists: name another file"),
        (["verify", "price", "--key", "key.pem"], "key.pem holds a private key"),
    ):
        assert main(given) == 2
        sentence = said(capsys)
        assert sentence.startswith("error: ")
        assert reason in sentence
        assert sentence.count("\n") == 1


@pytest.mark.parametrize(
    "given",
    [[], ["price"], ["--key", "key.pem"], ["price", "--key", "key.pem", "--new-key", "b"], ["price", "--new-key", "b"]],
)
def test_half_a_command_is_refused(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["sign", *given])
    assert "give a MODEL and its --key, or --new-key alone" in said(capsys)


def test_programs_outside_the_server_refuse_an_unsigned_model(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AXON_TRUSTED_KEYS", "key.pem.pub")
    monkeypatch.setenv("AXON_REQUIRE_SIGNATURE", "true")
    (tmp_path / "rows.csv").write_text("area,rooms\n80,3\n")
    commands = (
        ["export", "price", "--to", "numpy", "--out", str(tmp_path)],
        ["score", "rows.csv", "--model", "price", "--out", "answers.csv", "--quiet"],
        ["predict", "rows.csv", "--model", "price"],
        ["summary", "price"],
    )
    for command in commands:
        assert main(command) == 2
        assert "is not signed, and only signed versions are trusted" in said(capsys)
    assert main(["sign", "price", "--key", "key.pem"]) == 0
    for command in commands:
        assert main(command) == 0


def test_a_new_model_is_not_compared_with_an_unsigned_one(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AXON_TRUSTED_KEYS", "key.pem.pub")
    monkeypatch.setenv("AXON_REQUIRE_SIGNATURE", "true")
    run = ["fit", "iris", "--epochs", "2", "--no-report", "--quiet", "--publish"]
    assert main([*run, "always"]) == 0
    assert main([*run, "if-better"]) == 3
    assert "cannot be compared with what is served" in (words := said(capsys))
    assert "model.safetensors: is not signed, and only signed versions are trusted" in words
    assert store.entry("iris").versions == (1,)
    assert main(["sign", "iris", "--key", "key.pem"]) == 0
    run.remove("--quiet")  # which leaves out the comparison
    assert main([*run, "if-better"]) == 0
    assert "It is not clearly better than iris@1" in said(capsys)

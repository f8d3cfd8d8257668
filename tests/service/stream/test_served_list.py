"""The served versions of all API processes, in files: all processes count, and partly written files are ignored."""

from __future__ import annotations

from pathlib import Path

from service.stream.served_list import Served, ServedList, ServedLists


def test_readers_see_what_all_processes_serve_once_each_has_said_so(tmp_path: Path) -> None:
    lists = ServedLists(tmp_path, 2)
    assert lists.read() is None
    first, second = (ServedList(tmp_path, f"api-{number}") for number in range(2))
    first.write(["b@1#x", "a@2#y"], {"b@1#x", "a@2#y", "a@1#z"}, {"a@1", "a@2", "a@3", "b@1"})
    assert lists.read() is None, "the other has not said so"
    second.write(["c@1#v"], {"c@1#v"}, {"c@1"})
    assert lists.read() == Served(
        ("b@1#x", "a@2#y", "c@1#v"),
        frozenset({"b@1#x", "a@2#y", "a@1#z", "c@1#v"}),
        frozenset({"a@1", "a@2", "a@3", "b@1", "c@1"}),
    )
    versions = ServedLists(tmp_path, 2).versions()
    assert versions == {"a@1", "a@2", "a@3", "b@1", "c@1"}


def test_versions_are_read_again_when_a_list_has_changed_alone(tmp_path: Path) -> None:
    ours, lists = ServedList(tmp_path, "api-0"), ServedLists(tmp_path, 1)
    assert lists.versions() is None
    ours.write([], set(), {"a@1"})
    versions = lists.versions()
    assert versions == {"a@1"}
    assert lists.versions() is versions
    ours.intend("b@1#x")
    assert lists.versions() == {"a@1", "b@1"}
    ours.write([], set(), {"b@1"})
    assert lists.versions() == {"b@1"}


def test_a_key_is_there_as_soon_as_it_is_intended_and_goes_with_the_next_list(tmp_path: Path) -> None:
    ours, lists = ServedList(tmp_path, "api-0"), ServedLists(tmp_path, 1)
    ours.intend("early@1#x")
    assert lists.read() is None, "one key is not all that is served"
    ours.write([], set(), set())
    ours.intend("a@1#x")
    assert lists.read() == Served((), frozenset({"a@1#x"}), frozenset({"a@1"}))
    ours.write([], set(), set())
    assert lists.read() == Served((), frozenset(), frozenset())
    ours.intend("a@1#x")
    served = lists.read()
    assert served is not None
    assert served.keys == {"a@1#x"}
    with (tmp_path / "served" / "api-0").open("a") as file:
        file.write("key half@1#")
    served = lists.read()
    assert served is not None
    assert served.keys == {"a@1#x"}


def test_where_the_disk_refuses_nothing_is_known(tmp_path: Path) -> None:
    ours, lists = ServedList(tmp_path, "api-0"), ServedLists(tmp_path, 1)
    ours.write(["a@1#x"], {"a@1#x"}, {"a@1"})
    (tmp_path / "served" / ".api-0").mkdir()
    ours.write(["a@2#y"], {"a@2#y"}, {"a@2"})
    assert lists.read() is None, "a list of before would be wrong"
    (tmp_path / "served" / ".api-0").rmdir()
    ours.write(["a@2#y"], {"a@2#y"}, {"a@2"})
    served = lists.read()
    assert served is not None
    assert served.ahead == ("a@2#y",)

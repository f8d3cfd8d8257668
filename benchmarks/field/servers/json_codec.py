"""The JSON library of a peer: orjson, or msgspec if `AXON_BENCH_JSON` says so. Both write NumPy arrays as lists."""

import os

if os.environ.get("AXON_BENCH_JSON") == "msgspec":
    import msgspec

    loads = msgspec.json.decode
    dumps = msgspec.json.Encoder(enc_hook=lambda array: array.tolist()).encode
else:
    import orjson

    loads = orjson.loads

    def dumps(answer: object) -> bytes:
        """Writes an answer."""
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)

"""LitServe as its manual shows it: `python -m ftx.bench.workloads.server.litserve_program PORT`."""

from __future__ import annotations

import sys

import litserve

from ftx.bench.workloads.server.classifier import Classifier


class Api(litserve.LitAPI):  # type: ignore[misc]  # untyped
    """One text a request, batched by LitServe."""

    def setup(self, device: str) -> None:
        """Open the file."""
        self.model = Classifier()

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe takes a type for the body's schema
        """Take the text."""
        return request["texts"][0]

    def predict(self, texts: list[str]) -> list[int]:
        """Run a batch."""
        return self.model(list(texts))

    def encode_response(self, output: int) -> dict[str, int]:
        """Give the label."""
        return {"label": output}


if __name__ == "__main__":
    server = litserve.LitServer(Api(max_batch_size=16, batch_timeout=0.005), accelerator="cpu")
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False)

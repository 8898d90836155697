"""A model hub on loopback: the part of its HTTP interface that transformers and datasets use."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "c0ff"


def commit_of(revision: str) -> str:
    """Derive a commit from a branch or tag."""
    return COMMIT if revision in ("main", COMMIT) else hashlib.sha1(revision.encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `root/models/ORG/NAME` and `root/datasets/ORG/NAME`; a revision that is not main from `NAME@REVISION`."""

    protocol_version = "HTTP/1.1"
    root: Path
    gated: set[str]
    cut: set[str]
    commit: str = COMMIT

    def log_message(self, *arguments: object) -> None:
        """Keep the test's output clean."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[0] == "api" and "paths-info" in parts:
            folder, _ = self.find(parts[1], "/".join(parts[2:4]), parts[5])
            self.send_json([entry for entry in tree(folder) if entry["path"] in asked.get("paths", [])])
        else:
            self.refuse(404, "EntryNotFound")

    def answer(self, *, body: bool) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        api = parts[0] == "api"
        kind = "models"
        if api or parts[0] == "datasets":
            kind = parts[1] if api else "datasets"
            parts = parts[2:] if api else parts[1:]
        repo, rest = "/".join(parts[:2]), parts[2:]
        folder, commit = self.find(kind, repo, rest[1] if len(rest) > 1 else "main")
        self.commit = commit
        if repo in self.gated:
            self.refuse(401, "GatedRepo")
        elif not (self.root / kind / repo).is_dir():
            self.refuse(401, "RepoNotFound")
        elif not folder.is_dir():
            self.refuse(404, "RevisionNotFound")
        elif api and rest[:1] == ["tree"]:
            self.send_json([entry for entry in tree(folder) if str(entry["path"]).startswith("/".join(rest[2:]))])
        elif api:
            siblings = [{"rfilename": entry["path"]} for entry in tree(folder)]
            self.send_json(
                {"id": repo, "sha": commit, "private": False, "gated": False, "tags": [], "siblings": siblings}
            )
        elif rest[:1] == ["resolve"] and (folder / "/".join(rest[2:])).is_file():
            self.send_file(folder / "/".join(rest[2:]), body=body, cut="/".join([repo, *rest[2:]]) in self.cut)
        else:
            self.refuse(404, "EntryNotFound")

    def find(self, kind: str, repo: str, revision: str) -> tuple[Path, str]:
        """Find the folder and the commit of a revision, which may be a commit itself."""
        for folder in (self.root / kind).glob(f"{repo}@*"):
            name = folder.name.partition("@")[2]
            if revision in (name, commit_of(name)):
                return folder, commit_of(name)
        main = revision in ("main", COMMIT)
        return self.root / kind / (repo if main else f"{repo}@{revision}"), commit_of(revision)

    def send_file(self, path: Path, *, body: bool, cut: bool) -> None:
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[: len(content) // 2] if cut else content)
            if cut:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)  # to close it waits for the files made of it
                self.close_connection = True

    def send_json(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def tree(folder: Path) -> list[dict[str, object]]:
    """List a repository's files."""
    return [
        {
            "type": "file",
            "path": str(path.relative_to(folder)),
            "size": path.stat().st_size,
            "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


@contextmanager
def serve_hub(root: Path, *, gated: set[str], cut: set[str]) -> Iterator[str]:
    """Serve a hub until the block ends, and yield its address."""
    handler = type("BoundHandler", (Handler,), {"root": root, "gated": gated, "cut": cut})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

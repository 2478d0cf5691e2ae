"""A small server that speaks the protocol of the Hugging Face hub on 127.0.0.1, for its real client.

It knows models, branches and commits; repositories lie in its memory. Every upload is a plain file to it, as small files
are to the hub: large ones go there by the Xet protocol, of which it knows nothing. Downloads are plain and LFS files.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml

USER, TOKEN = "someone", "hf_secret"


class HubServer(ThreadingHTTPServer):
    """Repositories by name: their branches (name -> commit), commits (hash -> {path: bytes}), and who may see them.

    Attributes:
        requests: "METHOD path" of everything that was asked.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.branches: dict[str, dict[str, str]] = {}
        self.commits: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.requests: list[str] = []

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, repo, branch, changes):
        """Put changed files, None for a deleted one, onto a branch -> the commit."""
        before = self.branches[repo].get(branch, "")
        files = {**self.commits.get(before, {}), **changes}
        files = {path: data for path, data in files.items() if data is not None}
        sums = {path: hashlib.sha1(data).hexdigest() for path, data in sorted(files.items())}
        commit = hashlib.sha1(f"{repo} {before} {sums}".encode()).hexdigest()
        self.commits[commit] = files
        self.branches[repo][branch] = commit
        return commit


@contextlib.contextmanager
def hub_server():
    """The server, as long as the block lasts."""
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Refused(Exception):
    """An answer of this status, with the client's name for the reason."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    ROUTES = (
        ("HEAD", r"/", "alive"),
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate_card"),
        ("POST", r"/api/models/([^/]+/[^/]+)/branch/(.+)", "branch"),
        ("POST", r"/api/models/([^/]+/[^/]+)/preupload/(.+)", "preupload"),
        ("POST", r"/api/models/([^/]+/[^/]+)/commit/(.+)", "commit"),
        ("GET", r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", "tree"),
        ("GET", r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", "info"),
        ("GET|HEAD", r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", "resolve"),
    )

    def answer(self):
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            for method, pattern, name in self.ROUTES:
                match = re.fullmatch(pattern, path)
                if match and re.fullmatch(method, self.command):
                    getattr(self, name)(*match.groups())
                    return
            raise Refused(404, "EntryNotFound")
        except Refused as refused:
            self.send(refused.status, b"", {"X-Error-Code": str(refused), "X-Error-Message": str(refused)})

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def log_message(self, *_):
        pass

    def send(self, status, data, headers=None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send_json(self, value, status=200):
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def json(self):
        return json.loads(self.body)

    # ---- What may be asked -------------------------------------------------------------------------------------------

    def is_known(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def files(self, repo, revision):
        """(commit, its files)."""
        if repo not in self.server.branches or (repo in self.server.private and not self.is_known()):
            raise Refused(404, "RepoNotFound")
        commit = self.server.branches[repo].get(revision or "main", revision)
        if commit not in self.server.commits:
            raise Refused(404, "RevisionNotFound")
        return commit, self.server.commits[commit]

    def must_be_known(self):
        if not self.is_known():
            raise Refused(401, "RepoNotFound")

    def alive(self):
        self.send(200, b"")

    def whoami(self):
        self.must_be_known()
        self.send_json({"type": "user", "name": USER, "orgs": []})

    def create(self):
        self.must_be_known()
        asked = self.json()
        repo = f"{asked.get('organization') or USER}/{asked['name']}"
        status = 409 if repo in self.server.branches else 200
        if status == 200:
            self.server.branches[repo] = {}
            self.server.commit(repo, "main", {".gitattributes": b""})
            if asked.get("private") or asked.get("visibility") == "private":
                self.server.private.add(repo)
        self.send_json({"url": f"{self.server.endpoint}/{repo}", "name": repo}, status)

    def validate_card(self):
        metadata = yaml.safe_load(self.json()["content"].split("---")[1])
        errors = [] if isinstance(metadata, dict) else [{"message": "the metadata of the card are no mapping"}]
        self.send_json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def branch(self, repo, branch):
        self.must_be_known()
        self.server.branches[repo].setdefault(branch, self.server.branches[repo]["main"])
        self.send_json({})

    def preupload(self, repo, revision):
        self.must_be_known()
        self.files(repo, revision)
        names = [file["path"] for file in self.json()["files"]]
        files = [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
        self.send_json({"files": files})

    def commit(self, repo, branch):
        self.must_be_known()
        changes = {}
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "deletedFile":
                changes[value["path"]] = None
        commit = self.server.commit(repo, branch, changes)
        url = f"{self.server.endpoint}/{repo}/commit/{commit}"
        self.send_json(
            {"success": True, "commitUrl": url, "commitOid": commit, "hookOutput": "", "pullRequestUrl": None}
        )

    def info(self, repo, revision):
        commit, files = self.files(repo, revision)
        siblings = [{"rfilename": path} for path in files]
        self.send_json({"_id": "0", "id": repo, "modelId": repo, "sha": commit, "private": False, "siblings": siblings})

    def tree(self, repo, revision):
        _, files = self.files(repo, revision)
        entries = []
        for path, data in files.items():
            entry = {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            if is_lfs(path):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            entries.append(entry)
        self.send_json(entries)

    def resolve(self, repo, revision, path):
        commit, files = self.files(repo, revision)
        if path not in files:
            raise Refused(404, "EntryNotFound")
        data = files[path]
        etag = (hashlib.sha256 if is_lfs(path) else hashlib.sha1)(data).hexdigest()
        self.send(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"})


def is_lfs(path):
    return path.endswith((".safetensors", ".png", ".onnx"))

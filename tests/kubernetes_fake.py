"""A stand-in for the API of Kubernetes: TrainJobs that a function runs, and the logs of their pods."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

JOBS = re.compile(r"/apis/trainer\.kubeflow\.org/v1alpha1/namespaces/([\w-]+)/trainjobs(?:/([\w-]+))?$")


class Cluster:
    """What a server holds.

    Attributes:
        jobs: TrainJobs by name.
        asked: Method and path of each request.
        run: Called with each new TrainJob; returns its condition, `None` for one that never ends.
        log: What its one pod wrote.
        refusals: Status codes that answer the next requests instead.
    """

    def __init__(self):
        self.jobs, self.asked, self.log, self.refusals = {}, [], "", []
        self.run = lambda job: {"type": "Complete", "status": "True", "reason": "JobsCompleted"}

    def answer(self, method, path, body):
        """Return status and body of the answer to a request."""
        self.asked.append((method, path))
        if self.refusals and (refusal := self.refusals.pop(0)):
            return refusal, {"kind": "Status", "message": "refused"}
        if path.endswith("/log"):
            return 200, self.log
        if path.endswith("/pods"):
            pods = [{"metadata": {"name": "node-0"}, "status": {"phase": "Failed"}}] if self.log else []
            return 200, {"kind": "PodList", "apiVersion": "v1", "items": pods}
        match = JOBS.match(path)
        if match is None or (match[2] and match[2] not in self.jobs):
            return 404, {"kind": "Status", "message": "not found"}
        if method == "POST":
            job = json.loads(body)
            condition = self.run(job)
            job["status"] = {"conditions": [condition] if condition else []}
            self.jobs[job["metadata"]["name"]] = job
            return 201, job
        return 200, self.jobs.pop(match[2]) if method == "DELETE" else self.jobs[match[2]]


@contextmanager
def served(cluster):
    """Yield the address of a server with a cluster behind it."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, said = cluster.answer(self.command, self.path.partition("?")[0], body)
            text = (said if isinstance(said, str) else json.dumps(said)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(said, str) else "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = handle_any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

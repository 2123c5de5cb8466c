"""A client of the gateway that grpcio's own tools made of the published interface: what it asks, and the codes that it gets.

Arguments: the address, the gateway's certificate, and the folder of the interface. Tests start it; see grpcio.rs beside it.
"""

import os
import queue
import sys
import tempfile
import time

import grpc
from grpc_tools import protoc

address, certificate, interface = sys.argv[1:]
made = tempfile.TemporaryDirectory()
assert protoc.main(["", f"-I{interface}", f"--python_out={made.name}", f"--grpc_python_out={made.name}", "node.proto"]) == 0
sys.path.insert(0, made.name)
import node_pb2 as node  # noqa: E402
import node_pb2_grpc  # noqa: E402

with open(certificate, "rb") as file:
    trust = grpc.ssl_channel_credentials(file.read())
ONE = (("authorization", "Bearer 1111111111111111"),)
WRONG = (("authorization", "Bearer 0000000000000000"),)
WITHIN = 20


def connect(**options):
    return grpc.secure_channel(address, trust, options=[("grpc.enable_http_proxy", 0)], **options)


def refused(call, code, word):
    """The call is refused with this code, and this word in its metadata."""
    try:
        call()
    except grpc.RpcError as error:
        words = dict(error.trailing_metadata() or ())
        assert error.code() == code, (error.code(), error.details())
        assert words.get("offloadctl-code") == word, (words, error.details())
        return error
    raise AssertionError(f"it was not refused with {code}")


def beat(name="one", term=1, seq=1):
    return node.HeartbeatRequest(node_id=name, term=term, seq=seq, next_interval_ms=60_000)


def report(name="one", identity=1, **statuses):
    containers = {task: node.ContainerStatus(status=status, cpu=0.5) for task, status in statuses.items()}
    return node.StatusReport(node_id=name, containers=containers, timestamp=int(time.time() * 1000), term=1, id=identity)


channel = connect()
stub = node_pb2_grpc.NodeServiceStub(channel)
pulse = stub.Heartbeat(beat(seq=3), metadata=ONE, timeout=WITHIN)
assert pulse.seq == 3 and pulse.t3 >= pulse.t2 > 0, pulse
answer = stub.ReportStatus(report(web=node.STATUS_RUNNING, odd=node.STATUS_UNSPECIFIED), metadata=ONE, timeout=WITHIN)
assert answer.receipts["web"].outcome == node.OUTCOME_STORED, answer
assert answer.receipts["odd"].refused == "invalid_report", answer

said = queue.Queue()
sync = stub.Sync(iter(said.get, None), metadata=ONE, timeout=WITHIN)
said.put(node.NodeFrame(heartbeat=beat(seq=4)))
assert next(sync).heartbeat.seq == 4
for identity in range(1, 21):
    said.put(node.NodeFrame(report=report(identity=identity, **{f"task-{identity}": node.STATUS_COMPLETED})))
for identity in range(1, 21):
    told = next(sync).report
    assert told.id == identity and told.receipts[f"task-{identity}"].outcome == node.OUTCOME_STORED, told
said.put(None)
assert list(sync) == [] and sync.code() == grpc.StatusCode.OK

code = grpc.StatusCode
refused(lambda: stub.Heartbeat(beat(), timeout=WITHIN), code.UNAUTHENTICATED, "unauthorized")
refused(lambda: stub.Heartbeat(beat(), metadata=WRONG, timeout=WITHIN), code.UNAUTHENTICATED, "unauthorized")
refused(lambda: stub.Heartbeat(beat("two"), metadata=ONE, timeout=WITHIN), code.PERMISSION_DENIED, "forbidden")
lie = report("two", web=node.STATUS_FAILED)
refused(lambda: stub.ReportStatus(lie, metadata=ONE, timeout=WITHIN), code.PERMISSION_DENIED, "forbidden")
refused(lambda: stub.Heartbeat(beat(term=0, seq=2**60), metadata=ONE, timeout=WITHIN), code.INVALID_ARGUMENT, "invalid_report")

unknown = channel.unary_unary("/offloadctl.v1.NodeService/Dance", lambda text: text, lambda text: text)
refused(lambda: unknown(b"", metadata=ONE, timeout=WITHIN), code.UNIMPLEMENTED, "not_found")

zipped = node_pb2_grpc.NodeServiceStub(connect(compression=grpc.Compression.Gzip))
long = report(web=node.STATUS_RUNNING)
long.containers["web"].payload = '"' + "a" * 4096 + '"'
refused(lambda: zipped.ReportStatus(long, metadata=ONE, timeout=WITHIN), code.UNIMPLEMENTED, "unsupported_media_type")

long.containers["web"].payload = '"' + os.urandom(1 << 20).hex() + '"'
refused(lambda: stub.ReportStatus(long, metadata=ONE, timeout=WITHIN), code.RESOURCE_EXHAUSTED, "too_large")

lies = stub.Sync(iter([node.NodeFrame(heartbeat=beat("two"))]), metadata=ONE, timeout=WITHIN)
refused(lambda: list(lies), code.PERMISSION_DENIED, "forbidden")

assert stub.Heartbeat(beat(seq=5), metadata=ONE, timeout=WITHIN).seq == 5
channel.close()
print("all as published")

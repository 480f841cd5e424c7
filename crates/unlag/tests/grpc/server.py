"""The server of the gRPC interop cases on grpcio. Prints `listening PORT`, ends when its stdin does."""

import sys
from concurrent import futures

import grpc
import stubs

messages, services = stubs.load()

CODES = {code.value[0]: code for code in grpc.StatusCode}


def payload(size):
    return messages.Payload(body=bytes(size))


def echo_metadata(context):
    given = dict(context.invocation_metadata())
    if stubs.ECHO_INITIAL in given:
        context.send_initial_metadata(((stubs.ECHO_INITIAL, given[stubs.ECHO_INITIAL]),))
    if stubs.ECHO_TRAILING in given:
        context.set_trailing_metadata(((stubs.ECHO_TRAILING, given[stubs.ECHO_TRAILING]),))


def end_as_wanted(request, context):
    if request.HasField("wanted_status"):
        context.abort(CODES[request.wanted_status.code], request.wanted_status.message)


class Interop(services.InteropServicer):
    """What the cases call; `UnimplementedCall` stays as the generated base answers it."""

    def EmptyCall(self, request, context):
        return messages.Nothing()

    def UnaryCall(self, request, context):
        echo_metadata(context)
        end_as_wanted(request, context)
        return messages.SimpleResponse(payload=payload(request.response_size))

    def StreamingInputCall(self, requests, context):
        total = sum(len(request.payload.body) for request in requests)
        return messages.InputSummary(aggregated_size=total)

    def StreamingOutputCall(self, request, context):
        for plan in request.responses:
            yield messages.OutputResponse(payload=payload(plan.size))

    def FullDuplexCall(self, requests, context):
        echo_metadata(context)
        for request in requests:
            end_as_wanted(request, context)
            for plan in request.responses:
                yield messages.OutputResponse(payload=payload(plan.size))


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)])
    services.add_InteropServicer_to_server(Interop(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening {port}", flush=True)
    sys.stdin.read()
    server.stop(grace=None)


main()

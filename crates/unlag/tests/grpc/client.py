"""The client of the gRPC interop cases on grpcio: `client.py PORT` prints `ok NAME` or `FAIL NAME: reason` a case."""

import queue
import sys
import traceback

import grpc
import stubs

messages, services = stubs.load()

# Long enough for a slow machine; a case that waits longer is stuck.
DEADLINE_S = 20
REQUEST_SIZES = [27182, 8, 1828, 45904]
RESPONSE_SIZES = [31415, 9, 2653, 58979]
LARGE_REQUEST, LARGE_RESPONSE = 271828, 314159
SPECIAL_MESSAGE = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"


def equal(found, wanted, what):
    if found != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, found {found!r}")


def payload(size):
    return messages.Payload(body=bytes(size))


def output_request(response_size, request_size):
    return messages.OutputRequest(
        responses=[messages.ResponsePlan(size=response_size)], payload=payload(request_size)
    )


def wanted_status(code, text):
    return messages.WantedStatus(code=code, message=text)


def failure_of(call):
    """The error that a call ends with; it is a failure when it ends well."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call ended well")


class Pipe:
    """Requests that are sent when the case decides to."""

    def __init__(self):
        self.waiting = queue.Queue()

    def __iter__(self):
        return iter(self.waiting.get, None)

    def send(self, request):
        self.waiting.put(request)

    def close(self):
        self.waiting.put(None)


def empty_unary(stub, _):
    equal(stub.EmptyCall(messages.Nothing(), timeout=DEADLINE_S), messages.Nothing(), "answer")


def large_unary(stub, _):
    request = messages.SimpleRequest(response_size=LARGE_RESPONSE, payload=payload(LARGE_REQUEST))
    answer = stub.UnaryCall(request, timeout=DEADLINE_S)
    equal(answer.payload.body, bytes(LARGE_RESPONSE), "body")


def client_streaming(stub, _):
    requests = (messages.InputRequest(payload=payload(size)) for size in REQUEST_SIZES)
    answer = stub.StreamingInputCall(requests, timeout=DEADLINE_S)
    equal(answer.aggregated_size, sum(REQUEST_SIZES), "aggregated size")


def server_streaming(stub, _):
    request = messages.OutputRequest(responses=[messages.ResponsePlan(size=size) for size in RESPONSE_SIZES])
    answers = stub.StreamingOutputCall(request, timeout=DEADLINE_S)
    equal([len(answer.payload.body) for answer in answers], RESPONSE_SIZES, "sizes")


def ping_pong(stub, _):
    pipe = Pipe()
    answers = stub.FullDuplexCall(iter(pipe), timeout=DEADLINE_S)
    for request_size, response_size in zip(REQUEST_SIZES, RESPONSE_SIZES):
        pipe.send(output_request(response_size, request_size))
        equal(len(next(answers).payload.body), response_size, "size")
    pipe.close()
    equal(list(answers), [], "answers after the last request")


def empty_stream(stub, _):
    equal(list(stub.FullDuplexCall(iter([]), timeout=DEADLINE_S)), [], "answers")


def cancel_after_begin(stub, _):
    pipe = Pipe()
    call = stub.StreamingInputCall.future(iter(pipe), timeout=DEADLINE_S)
    call.cancel()
    pipe.close()
    equal(call.cancelled(), True, "cancelled")
    equal(call.code(), grpc.StatusCode.CANCELLED, "code")


def cancel_after_first_response(stub, _):
    pipe = Pipe()
    answers = stub.FullDuplexCall(iter(pipe), timeout=DEADLINE_S)
    pipe.send(output_request(RESPONSE_SIZES[0], REQUEST_SIZES[0]))
    equal(len(next(answers).payload.body), RESPONSE_SIZES[0], "size")
    answers.cancel()
    error = failure_of(lambda: next(answers))
    pipe.close()
    equal(error.code(), grpc.StatusCode.CANCELLED, "code")


def timeout_on_sleeping_server(stub, _):
    pipe = Pipe()
    answers = stub.FullDuplexCall(iter(pipe), timeout=0.05)
    pipe.send(messages.OutputRequest(payload=payload(27182)))
    error = failure_of(lambda: next(answers))
    pipe.close()
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED, "code")


def custom_metadata(stub, _):
    initial, trailing = "test_initial_metadata_value", b"\xab\xab\xab"
    sent = ((stubs.ECHO_INITIAL, initial), (stubs.ECHO_TRAILING, trailing))
    request = messages.SimpleRequest(response_size=LARGE_RESPONSE, payload=payload(LARGE_REQUEST))
    answer, call = stub.UnaryCall.with_call(request, metadata=sent, timeout=DEADLINE_S)
    equal(len(answer.payload.body), LARGE_RESPONSE, "size")
    check_echo(call, initial, trailing, "unary")
    pipe = Pipe()
    duplex = stub.FullDuplexCall(iter(pipe), metadata=sent, timeout=DEADLINE_S)
    pipe.send(output_request(RESPONSE_SIZES[0], REQUEST_SIZES[0]))
    pipe.close()
    equal(len(list(duplex)), 1, "answers")
    check_echo(duplex, initial, trailing, "duplex")


def check_echo(call, initial, trailing, what):
    equal(dict(call.initial_metadata()).get(stubs.ECHO_INITIAL), initial, f"{what} initial metadata")
    equal(dict(call.trailing_metadata()).get(stubs.ECHO_TRAILING), trailing, f"{what} trailing metadata")


def check_status(stub, code, text):
    request = messages.SimpleRequest(wanted_status=wanted_status(code, text))
    error = failure_of(lambda: stub.UnaryCall(request, timeout=DEADLINE_S))
    equal((error.code().value[0], error.details()), (code, text), "unary status")


def status_code_and_message(stub, _):
    text = "test status message"
    check_status(stub, 2, text)
    request = messages.OutputRequest(wanted_status=wanted_status(2, text))
    error = failure_of(lambda: list(stub.FullDuplexCall(iter([request]), timeout=DEADLINE_S)))
    equal((error.code().value[0], error.details()), (2, text), "duplex status")


def special_status_message(stub, _):
    check_status(stub, 2, SPECIAL_MESSAGE)


def unimplemented_method(stub, _):
    error = failure_of(lambda: stub.UnimplementedCall(messages.Nothing(), timeout=DEADLINE_S))
    equal(error.code(), grpc.StatusCode.UNIMPLEMENTED, "code")


def unimplemented_service(_, absent):
    error = failure_of(lambda: absent.UnimplementedCall(messages.Nothing(), timeout=DEADLINE_S))
    equal(error.code(), grpc.StatusCode.UNIMPLEMENTED, "code")


CASES = [
    empty_unary,
    large_unary,
    client_streaming,
    server_streaming,
    ping_pong,
    empty_stream,
    cancel_after_begin,
    cancel_after_first_response,
    timeout_on_sleeping_server,
    custom_metadata,
    status_code_and_message,
    special_status_message,
    unimplemented_method,
    unimplemented_service,
]


def main():
    with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        stub, absent = services.InteropStub(channel), services.UnimplementedServiceStub(channel)
        for case in CASES:
            try:
                case(stub, absent)
                print(f"ok {case.__name__}", flush=True)
            except Exception as error:  # every case is reported, whatever went wrong in it
                traceback.print_exc()
                print(f"FAIL {case.__name__}: {error!r}", flush=True)


main()

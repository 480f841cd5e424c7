//! The published gRPC interop cases through unlag, with two implementations that share no code, each as client and as
//! server: a caller that speaks HTTP/2 with prior knowledge, and an upstream with `protocol = "http2"`.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports what went wrong by panicking"
)]

mod suite_tools;

use std::process::Command;

use suite_tools::{
    Found, Server, UNLAG, node_with_packages, python_with_packages, run_client, shown, test_file, with_tools,
};
use unlag_testkit::Setup;

/// The cases that both clients run, by their published names.
const CASES: [&str; 14] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "cancel_after_begin",
    "cancel_after_first_response",
    "timeout_on_sleeping_server",
    "custom_metadata",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
];

/// An implementation: how to run one of its scripts.
type Side = fn(role: &str) -> Found<Command>;

fn grpcio(role: &str) -> Found<Command> {
    let mut python = python_with_packages()?;
    python.arg(test_file(&format!("grpc/{role}.py")));
    Ok(python)
}

fn grpc_js(role: &str) -> Found<Command> {
    let mut node = node_with_packages()?;
    node.arg(test_file(&format!("grpc/{role}.cjs")));
    Ok(node)
}

fn tools(client: Side, server: Side) -> Found<(Command, Command)> {
    Ok((client("client")?, server("server")?))
}

/// Runs all cases against `port`: those that did not pass, with everything that the client said.
fn failures(mut client: Command, port: &str) -> (Vec<String>, String) {
    client.arg(port);
    let output = run_client(client);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let passed = |case: &&str| said.lines().any(|line| line.strip_prefix("ok ") == Some(*case));
    let failed = CASES.iter().filter(|case| !passed(case)).map(|case| (*case).to_owned());
    (failed.collect(), shown(&output))
}

fn assert_all_cases_pass(client: Side, server: Side) {
    with_tools("gRPC interop", tools(client, server), |(client_command, server_command)| {
        let server = Server::start(server_command, "listening ");
        let unlag = Setup::of(UNLAG).to([server.url()]).upstream("protocol", "\"http2\"").start();
        let port = unlag.address().rsplit(':').next().unwrap_or_default();
        let (failed, said) = failures(client_command, port);
        if failed.is_empty() {
            return;
        }
        // The same cases without unlag say whose fault it is.
        let direct = client("client").ok().map(|again| failures(again, &server.port.to_string()).0);
        panic!("failed through unlag: {failed:?}; without it: {:?}\n{said}", direct.unwrap_or_default());
    });
}

#[test]
fn grpcio_calls_grpcio() {
    assert_all_cases_pass(grpcio, grpcio);
}

#[test]
fn grpcio_calls_grpc_js() {
    assert_all_cases_pass(grpcio, grpc_js);
}

#[test]
fn grpc_js_calls_grpcio() {
    assert_all_cases_pass(grpc_js, grpcio);
}

#[test]
fn grpc_js_calls_grpc_js() {
    assert_all_cases_pass(grpc_js, grpc_js);
}

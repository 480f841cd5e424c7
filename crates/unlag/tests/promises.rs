//! Promises that a first user found broken: files that are not ours, ports that are taken, secrets, ids, claims.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::os::unix::fs::PermissionsExt;
use unlag_testkit::h2::Call;
use unlag_testkit::origin::ok;
use unlag_testkit::process::Directory;
use unlag_testkit::{Gate, RawClient, RawOrigin, Script, Setup, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

#[test]
fn a_listening_socket_never_takes_the_place_of_another_kind_of_file() {
    let directory = Directory::new();
    let notes = directory.path().join("notes.txt");
    std::fs::write(&notes, "mine").expect("a file");
    let listen = format!("address = \"unix:{}\"", notes.display());
    let failed =
        Setup::of(UNLAG).listen(&listen).to(["http://127.0.0.1:1"]).try_start().err().expect("no start");
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert_eq!(std::fs::read_to_string(&notes).expect("the file"), "mine");
}

#[test]
fn a_port_that_another_process_listens_on_is_not_shared_with_it() {
    let origin = RawOrigin::ok("fine");
    let first = Setup::of(UNLAG).to([origin.url()]).start();
    let listen = format!("address = \"{}\"", first.address());
    let failed = Setup::of(UNLAG).listen(&listen).to([origin.url()]).try_start().err().expect("no start");
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("in use"), "{}", failed.stderr);
}

#[test]
fn a_token_that_is_not_there_lets_nobody_start_without_it() {
    let directory = Directory::new();
    let setup = Setup::of(UNLAG).to(["http://127.0.0.1:1"]);
    let text = setup.config_text(directory.path());
    let text = text.replacen("[admin]", "[admin]\ntoken = \"env:UNLAG_TOKEN_THAT_NOBODY_SETS\"", 1);
    let file = directory.path().join("unlag.toml");
    std::fs::write(&file, text).expect("a config");
    let run = std::process::Command::new(UNLAG).args(["run", "-c"]).arg(&file).output().expect("it ends");
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    assert!(said.contains("admin.token"), "{said}");
}

#[test]
fn the_config_api_never_shows_a_token_however_it_is_spelled() {
    let setup = Setup::of(UNLAG).to(["http://127.0.0.1:1"]);
    let unlag = setup.start();
    let plain = std::fs::read_to_string(unlag.directory().join("unlag.toml")).expect("the config");
    assert!(!plain.contains("s3cret"), "the test brings its own");
    let dotted = plain.replace("[admin]", "[admin]\n\"token\" = 's3cret-s3cret-s3cret'");
    assert_ne!(dotted, plain, "there is an [admin] to add to: {plain}");
    unlag.write_config_text(&dotted);
    unlag.signal("HUP");
    let reloaded = unlag.wait_for_log("reloaded");
    assert!(reloaded.to_string().contains("hash"), "{reloaded}");
    let shown = unlag.admin("/api/v1/config").text();
    assert!(!shown.contains("s3cret") && shown.contains("***"), "{shown}");
}

#[test]
fn a_reload_says_which_changes_wait_for_the_next_start() {
    let unlag = Setup::of(UNLAG).to(["http://127.0.0.1:1"]).start();
    let file = unlag.directory().join("unlag.toml");
    let text = std::fs::read_to_string(&file).expect("the config");
    unlag.write_config_text(&text.replace("[admin]", "[admin]\ntoken = 'another-token-entirely'"));
    unlag.signal("HUP");
    unlag.wait_for_log("reloaded");
    let lines = unlag.log().lines().join("\n");
    assert!(lines.contains("[admin] has changed: that takes effect at the next start"), "{lines}");
}

#[test]
fn a_config_that_is_put_keeps_the_permissions_of_its_file() {
    let unlag = Setup::of(UNLAG).to(["http://127.0.0.1:1"]).start();
    let file = unlag.directory().join("unlag.toml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    let (text, token) = text_and_token(&unlag);
    let response = put(&unlag, &token, &format!("{text}\n# changed\n"));
    assert_eq!(response.0, 200, "{}", response.1);
    assert!(std::fs::read_to_string(&file).expect("the config").ends_with("# changed\n"));
    assert_eq!(std::fs::metadata(&file).expect("the file").permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_config_that_cannot_be_written_down_is_not_put_in_force() {
    let unlag = Setup::of(UNLAG).to(["http://127.0.0.1:1"]).start();
    let (text, token) = text_and_token(&unlag);
    // Where the new text would be staged, something that cannot be replaced by a file.
    std::fs::create_dir(unlag.directory().join("unlag.toml.new")).expect("a directory in the way");
    let more = "[[route]]\nmatch = \"/new\"\nrespond = { status = 200, body = \"new\" }\n";
    assert_eq!(put(&unlag, &token, &format!("{text}\n{more}")).0, 500);
    assert_ne!(unlag.get("/new").text(), "new");
}

fn text_and_token(unlag: &unlag_testkit::Unlag) -> (String, String) {
    let text = std::fs::read_to_string(unlag.directory().join("unlag.toml")).expect("the config");
    let mut found = None;
    wait_until("a token was made", || {
        let state = std::fs::read_dir(unlag.directory()).expect("its directory").flatten();
        let files = state
            .map(|entry| entry.path().join("admin.token"))
            .chain([unlag.directory().join("admin.token")]);
        found = files.filter_map(|file| std::fs::read_to_string(file).ok()).next();
        found.is_some()
    });
    (text, found.expect("a token").trim().to_owned())
}

fn put(unlag: &unlag_testkit::Unlag, token: &str, text: &str) -> (u16, String) {
    let etag = unlag.admin("/api/v1/config").header("etag").expect("an ETag").to_owned();
    let mut client = RawClient::connect(unlag.admin_address());
    let head = format!(
        "PUT /api/v1/config HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nIf-Match: {etag}\r\nContent-Length: {}\r\n\r\n",
        unlag.admin_address(),
        text.len()
    );
    let response = client.send(format!("{head}{text}")).read_response("PUT");
    (response.status(), response.text())
}

#[test]
fn an_upload_past_the_bound_of_its_route_is_refused_over_http_2_too() {
    let origin = RawOrigin::ok("fine");
    let unlag = Setup::of(UNLAG).to([origin.url()]).route("body_max", "\"1KiB\"").start();
    let answer = Call::post("/", &vec![b'x'; 50_000]).send(unlag.address());
    assert_eq!(answer.status, 413);
}

#[test]
fn a_deadline_covers_the_content_of_the_answer() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome";
    let stall = Gate::new();
    let origin = RawOrigin::always(Script::new().request().send(head).wait(&stall));
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Timeout-Ms: 300\r\n\r\n";
    let result = unlag.connect().send(request).try_read_response("GET");
    assert!(result.is_err(), "an answer that was never whole");
    stall.open();
}

#[test]
fn a_refused_request_keeps_its_id() {
    let unlag = Setup::of(UNLAG).toml("[[route]]\nmatch = \"/only\"\nrespond = { status = 200 }\n").start();
    let request = "GET /other HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine-1\r\n\r\n";
    let response = unlag.connect().send(request).read_response("GET");
    assert_eq!((response.status(), response.header("x-request-id")), (404, Some("mine-1")));
}

#[test]
fn whatever_name_a_claim_to_be_somebody_has_it_is_not_believed() {
    let origin = RawOrigin::always(Script::new().answer(|_| ok("fine")));
    let unlag = Setup::of(UNLAG).to([origin.url()]).start();
    let claims =
        "X-Forwarded-Client-Cert: Subject=admin\r\nTrue-Client-IP: 1.2.3.4\r\nX-Forwarded-Prefix: /\r\n";
    unlag.connect().send(format!("GET / HTTP/1.1\r\nHost: a\r\n{claims}\r\n")).read_response("GET");
    let seen = origin.only_request();
    for name in ["x-forwarded-client-cert", "true-client-ip", "x-forwarded-prefix"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
}

#[test]
fn a_config_is_in_force_as_a_whole_with_the_answer_to_its_put() {
    let unlag = Setup::of(UNLAG).to(["http://127.0.0.1:1"]).start();
    let (text, token) = text_and_token(&unlag);
    let more = "[[route]]\nmatch = \"/new\"\nrespond = { status = 200, body = \"new\" }\n";
    let mut caller = unlag.connect();
    assert_eq!(caller.get("/new").status(), 502, "the route that was there");
    let narrow = format!("{}\n{more}", text.replace("[limits]", "[limits]\nuri = \"64B\""));
    let narrow = if narrow.contains("uri") { narrow } else { format!("{narrow}[limits]\nuri = \"64B\"\n") };
    let (status, answer) = put(&unlag, &token, &narrow);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        caller.get(&format!("/new?{}", "x".repeat(100))).status(),
        414,
        "the bound that came with the route"
    );
}

#[test]
fn an_edit_of_the_file_that_is_not_in_force_is_not_overwritten() {
    let unlag = Setup::of(UNLAG).to(["http://127.0.0.1:1"]).start();
    let (text, token) = text_and_token(&unlag);
    let file = unlag.directory().join("unlag.toml");
    let edited = format!("{text}\n# somebody's work in progress [\n[\n");
    std::fs::write(&file, &edited).expect("an edit");
    let (status, answer) = put(&unlag, &token, &format!("{text}\n# over the API\n"));
    assert_eq!(status, 412, "{answer}");
    assert!(answer.contains("edited"), "{answer}");
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), edited);
}

//! Endpoints that are listed in a file of their own, which is watched.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use unlag_testkit::process::Directory;
use unlag_testkit::wait::pause;
use unlag_testkit::{RawOrigin, Response, Setup, Unlag, wait_until};

const UNLAG: &str = env!("CARGO_BIN_EXE_unlag");

struct Bed {
    directory: Directory,
    unlag: Unlag,
}

impl Bed {
    /// An unlag whose endpoints are listed in a file with this text.
    fn new(text: &str) -> Bed {
        Bed::with("", text)
    }

    /// The same with these further keys of the upstream.
    fn with(keys: &str, text: &str) -> Bed {
        let directory = Directory::new();
        let file = directory.path().join("endpoints.txt");
        std::fs::write(&file, text).expect("the list");
        let upstream = format!(
            "[upstream.origin]\ndiscover = \"file://{}\"\n{keys}\n[[route]]\nmatch = \"/{{path...}}\"\nupstream = \"origin\"",
            file.display()
        );
        Bed { unlag: Setup::of(UNLAG).toml(&upstream).workers(1).start(), directory }
    }

    /// Replaces the list at once, as a tool that keeps it does.
    fn write(&self, text: &str) {
        let (next, file) = (self.directory.path().join("next"), self.directory.path().join("endpoints.txt"));
        std::fs::write(&next, text).and_then(|()| std::fs::rename(&next, file)).expect("the list");
    }

    fn wait_for_endpoints(&self, count: usize) {
        wait_until(&format!("{count} endpoints"), || self.unlag.endpoints().len() == count);
    }

    fn answers(&self) -> BTreeSet<String> {
        (0..10).map(|_| self.unlag.get("/").text()).collect()
    }

    /// Turns a switch of the upstream.
    fn turn(&self, switch: &str, body: &str) -> Response {
        self.unlag.order(&format!("/api/v1/upstreams/origin/{switch}"), body)
    }

    /// What is drained beside the endpoints that there are.
    fn drained(&self) -> Value {
        let text = self.unlag.admin("/api/v1/upstreams").text();
        let all: Value = serde_json::from_str(&text).expect("JSON");
        all["upstreams"][0]["drained"].clone()
    }
}

#[test]
fn endpoints_come_and_go_with_their_lines_and_those_that_stay_keep_what_is_known_of_them() {
    let (first, second) = (RawOrigin::ok("first"), RawOrigin::ok("second"));
    let bed = Bed::new(&format!("{} # the only one\n", first.url()));
    assert_eq!(bed.answers(), BTreeSet::from(["first".to_owned()]));
    bed.write(&format!("{}\n{} weight=2\n", first.url(), second.url()));
    bed.wait_for_endpoints(2);
    let kept = bed.unlag.endpoint(&first.address()).expect("the first");
    assert_eq!((&kept["successes"], &kept["connections_open"]), (&10.into(), &1.into()), "{kept}");
    // Who joins is asked once every core has had the time to connect.
    wait_until("both answer", || bed.answers() == BTreeSet::from(["first".to_owned(), "second".to_owned()]));
    bed.write(&format!("{} weight=2\n", second.url()));
    bed.wait_for_endpoints(1);
    assert_eq!(bed.answers(), BTreeSet::from(["second".to_owned()]));
    first.wait_until_closed(0);
}

#[test]
fn endpoints_that_stay_are_not_checked_anew_when_others_come_and_go() {
    let down = || RawOrigin::answering(|_| b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n".to_vec());
    let (stays, comes) = (down(), down());
    let bed = Bed::with("health = { path = \"/\", interval = \"1h\" }\n", &format!("{}\n", stays.url()));
    stays.wait_for_requests(1);
    bed.write(&format!("{}\n{}\n", stays.url(), comes.url()));
    comes.wait_for_requests(1);
    bed.write(&format!("{}\n", comes.url()));
    bed.wait_for_endpoints(1);
    wait_until("both are down", || bed.unlag.log().with_message("health changed").len() >= 2);
    assert_eq!((stays.request_count(), comes.request_count()), (1, 1));
}

#[test]
fn a_file_that_is_broken_or_gone_keeps_the_last_list_and_says_so() {
    let origin = RawOrigin::ok("still here");
    let bed = Bed::new(&origin.url());
    let complaints = || bed.unlag.log().with_message("endpoints not read, the last ones stay").len();
    bed.write("http://127.0.0.1:1\nwhat is this?\n");
    wait_until("it is complained about", || complaints() == 1);
    assert_eq!(bed.answers(), BTreeSet::from(["still here".to_owned()]));
    std::fs::remove_file(bed.directory.path().join("endpoints.txt")).expect("remove the list");
    wait_until("it is complained about", || complaints() == 2);
    assert_eq!(bed.answers(), BTreeSet::from(["still here".to_owned()]));
    let reads = || bed.unlag.log().with_message("endpoints read").len();
    let before = reads();
    bed.write(&format!("{} # mended\n", origin.url()));
    wait_until("it is read again", || reads() > before);
    assert_eq!(bed.unlag.endpoints().len(), 1);
}

#[test]
fn an_empty_file_is_a_service_scaled_to_nothing() {
    let origin = RawOrigin::ok("back");
    let bed = Bed::new("# nobody yet\n");
    let response = bed.unlag.get("/");
    assert_eq!(response.status(), 503, "{}", response.text());
    bed.write(&origin.url());
    bed.wait_for_endpoints(1);
    assert_eq!(bed.unlag.get("/").text(), "back");
    bed.write("");
    bed.wait_for_endpoints(0);
    assert_eq!(bed.unlag.get("/").status(), 503);
}

#[test]
fn an_endpoint_that_left_while_it_was_drained_is_shown_and_can_be_put_back() {
    let (leaves, stays) = (RawOrigin::ok("leaves"), RawOrigin::ok("stays"));
    let (both, one) = (format!("{}\n{}\n", leaves.url(), stays.url()), stays.url());
    let named = format!("{{\"endpoint\": \"{}\"}}", leaves.address());
    let bed = Bed::new(&both);
    assert_eq!(bed.turn("drain", &named).status(), 200);
    assert_eq!(bed.drained(), json!({ "all": false, "gone": [] }), "it stands among the endpoints");
    bed.write(&one);
    bed.wait_for_endpoints(1);
    assert_eq!(bed.drained(), json!({ "all": false, "gone": [leaves.address()] }));
    assert_eq!(bed.turn("drain", &named).status(), 200, "the same line may be sent again");
    assert_eq!(bed.turn("undrain", &named).status(), 200);
    assert_eq!(bed.drained(), json!({ "all": false, "gone": [] }));
    let unknown = bed.turn("undrain", &named);
    assert_eq!(unknown.status(), 404);
    assert!(unknown.text().contains(&leaves.address()), "{}", unknown.text());
    bed.write(&both);
    bed.wait_for_endpoints(2);
    assert_eq!(bed.unlag.endpoint(&leaves.address()).expect("it")["state"], "healthy");
    wait_until("it is asked again", || bed.answers().contains("leaves"));
}

#[test]
fn an_upstream_that_lost_its_endpoints_while_all_were_drained_says_so_and_can_be_put_back() {
    let origin = RawOrigin::ok("back");
    let bed = Bed::new(&origin.url());
    assert_eq!(bed.turn("drain", "{\"all\": true}").status(), 200);
    bed.write("");
    bed.wait_for_endpoints(0);
    assert_eq!(bed.drained(), json!({ "all": true, "gone": [] }));
    assert_eq!(bed.turn("undrain", "{\"all\": true}").status(), 200);
    assert_eq!(bed.drained(), json!({ "all": false, "gone": [] }));
    bed.write(&origin.url());
    bed.wait_for_endpoints(1);
    assert_eq!(bed.unlag.get("/").text(), "back");
}

#[test]
fn all_of_nothing_is_not_drained_and_the_answer_says_that_there_is_nothing() {
    let bed = Bed::new("# nobody yet\n");
    for switch in ["drain", "undrain"] {
        let refused = bed.turn(switch, "{\"all\": true}");
        assert_eq!(refused.status(), 404);
        assert!(refused.text().contains("`origin` has no endpoints at present"), "{}", refused.text());
    }
    assert_eq!(bed.drained(), json!({ "all": false, "gone": [] }));
}

#[test]
fn a_list_that_is_being_written_is_left_alone_until_it_stands_still() {
    let origin = RawOrigin::ok("still here");
    let bed = Bed::new(&origin.url());
    let file = bed.directory.path().join("endpoints.txt");
    // In place and slowly, as a careless tool writes it: first to nothing, then a line in pieces.
    for end in 0..origin.url().len() {
        std::fs::write(&file, &origin.url()[..end]).expect("a piece");
        assert_eq!(bed.unlag.get("/").text(), "still here", "after {end} bytes");
        pause(Duration::from_millis(40));
    }
    std::fs::write(&file, format!("{} # whole\n", origin.url())).expect("the list");
    assert_eq!(bed.unlag.get("/").text(), "still here");
}

#[test]
fn a_list_that_is_no_file_keeps_nobody_waiting_not_even_a_stop() {
    let origin = RawOrigin::ok("still here");
    let mut bed = Bed::new(&origin.url());
    let file = bed.directory.path().join("endpoints.txt");
    std::fs::remove_file(&file).expect("remove the list");
    let made = std::process::Command::new("mkfifo").arg(&file).status().expect("mkfifo");
    assert!(made.success());
    wait_until("it is complained about", || {
        let lines = bed.unlag.log().with_message("endpoints not read, the last ones stay");
        lines.iter().any(|line| line.to_string().contains("not a regular file"))
    });
    assert_eq!(bed.unlag.get("/").text(), "still here");
    bed.write(&format!("{}\n# mended\n", origin.url()));
    let reads = || bed.unlag.log().with_message("endpoints read").len();
    let before = reads();
    wait_until("it is read again", || reads() > before || before > 1);
    bed.unlag.signal("TERM");
    assert_eq!(bed.unlag.wait_for_exit(), Some(0));
}

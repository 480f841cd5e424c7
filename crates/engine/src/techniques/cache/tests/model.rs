//! Random lives of a few URLs, compared with what a cache may do at most: the origin changes and fails, time passes, things are
//! purged and changed through the cache, callers come with credentials and without. The model does not know what is stored. It
//! knows of every answer of the origin when it was given and to whom, and judges what callers get by that.

use super::super::purge::{Purge, What};
use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use tokio::task::LocalSet;

const PATHS: [&str; 3] = ["/0", "/1", "/2"];
const CALLERS: [Option<&str>; 3] = [None, Some("alice"), Some("bob")];
const LANGUAGES: [&str; 2] = ["de", "en"];

/// What the origin says of its answers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Policy {
    said: &'static str,
    ttl_s: u64,
    /// How long it may be served stale while it is fetched again, and when the origin fails.
    windows_s: (u64, u64),
    is_public: bool,
    /// It is for the one who asked.
    is_own: bool,
    /// It must be asked about each time.
    is_asked_about: bool,
}

const fn policy(said: &'static str, ttl_s: u64, windows_s: (u64, u64), is_public: bool) -> Policy {
    Policy { said, ttl_s, windows_s, is_public, is_own: false, is_asked_about: false }
}

const POLICIES: [Policy; 9] = [
    policy("max-age=5", 5, (0, 0), false),
    policy("public, max-age=20", 20, (0, 0), true),
    policy("max-age=3, stale-while-revalidate=4", 3, (4, 0), false),
    policy("public, max-age=3, stale-if-error=6", 3, (0, 6), true),
    policy("max-age=4, must-revalidate", 4, (0, 0), true),
    policy("s-maxage=6, stale-if-error=9, stale-while-revalidate=9", 6, (0, 0), true),
    Policy { is_asked_about: true, ..policy("no-cache", 0, (0, 0), false) },
    Policy { is_own: true, ..policy("private, max-age=9", 0, (0, 0), false) },
    Policy { is_own: true, ..policy("no-store", 0, (0, 0), false) },
];

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    Get {
        path: usize,
        caller: usize,
        language: usize,
    },
    /// The origin has another content, and no one tells the cache.
    Change {
        path: usize,
        policy: usize,
    },
    Post {
        path: usize,
    },
    Purge {
        path: usize,
        soft: bool,
    },
    PurgeAll,
    Fails(bool),
    Wait {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let path = 0..PATHS.len();
    prop_oneof![
        8 => (path.clone(), 0..CALLERS.len(), 0..LANGUAGES.len())
            .prop_map(|(path, caller, language)| Step::Get { path, caller, language }),
        2 => (path.clone(), 0..POLICIES.len()).prop_map(|(path, policy)| Step::Change { path, policy }),
        1 => path.clone().prop_map(|path| Step::Post { path }),
        1 => (path, any::<bool>()).prop_map(|(path, soft)| Step::Purge { path, soft }),
        1 => Just(Step::PurgeAll),
        1 => any::<bool>().prop_map(Step::Fails),
        3 => (1u64..6_000).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// An answer of the origin, by the number in its content.
#[derive(Clone, Debug)]
struct Given {
    path: String,
    caller: String,
    language: String,
    version: u64,
    policy: Policy,
    /// The step in which it was given.
    step: usize,
    /// When it was given, or last found to hold still.
    good_ns: u64,
    good_step: usize,
}

/// The origin, and all that it has said.
struct World {
    current: [(u64, Policy); PATHS.len()],
    given: Vec<Given>,
    fails: bool,
    /// When it was last asked while it failed. For a second after that it is left in peace.
    failed_ns: Option<u64>,
    step: usize,
    /// The steps in which things were last taken out, and when they were last made stale.
    taken_out: [usize; PATHS.len()],
    made_stale: [usize; PATHS.len()],
}

impl World {
    fn new() -> World {
        let current = [0, 1, 2].map(|at| (1, POLICIES[at]));
        World {
            current,
            given: Vec::new(),
            fails: false,
            failed_ns: None,
            step: 0,
            taken_out: [0; PATHS.len()],
            made_stale: [0; PATHS.len()],
        }
    }

    fn answer(&mut self, request: &Fields) -> Result<(u16, Fields, &'static str), Error> {
        if self.fails {
            self.failed_ns = Some(clock::now());
            return Err(Error::ConnectRefused);
        }
        let text = |name| String::from_utf8_lossy(request.get_named(name).unwrap_or_default()).into_owned();
        let (path, caller, language) = (text("x-path"), text("authorization"), text("x-language"));
        let at = PATHS.iter().position(|known| *known == path).unwrap();
        let (version, policy) = self.current[at];
        let etag = format!("\"{path} {version} {language}\"");
        let mut said = fields(&[("cache-control", policy.said), ("vary", "x-language"), ("etag", &etag)]);
        let (now, step) = (clock::now(), self.step);
        if text("if-none-match").split(", ").any(|asked| asked == etag) {
            let same = |given: &&mut Given| {
                (given.path == path, given.version, &given.language) == (true, version, &language)
            };
            self.given.iter_mut().filter(same).for_each(|given| {
                (given.good_ns, given.good_step, given.policy) = (now, step, policy);
            });
            return Ok((304, said, ""));
        }
        said.push_known(Name::ContentType, b"text/plain");
        let body: &'static str = Box::leak(self.given.len().to_string().into_boxed_str());
        let (good_ns, good_step) = (now, step);
        self.given.push(Given { path, caller, language, version, policy, step, good_ns, good_step });
        Ok((200, said, body))
    }

    /// Whether a caller may have got this.
    fn judge(&self, got: &Got, path: usize, caller: usize, language: usize) -> Result<(), String> {
        if got.0 != 200 {
            return if self.fails { Ok(()) } else { Err("the origin would have answered".into()) };
        }
        let given = got.2.parse::<usize>().ok().and_then(|number| self.given.get(number));
        let given = given.ok_or("nobody has said that")?;
        let is_new = given.step == self.step;
        let caller = CALLERS[caller].unwrap_or_default();
        let owner = given.caller.as_str();
        let Policy { ttl_s, windows_s, is_public, is_own, is_asked_about, .. } = given.policy;
        let age_ns = clock::now() - given.good_ns;
        let in_peace = self.failed_ns.is_some_and(|failed_ns| clock::now() < failed_ns + SECOND);
        let window_s = windows_s.0.max(if self.fails || in_peace { windows_s.1 } else { 0 });
        let has_windows = windows_s != (0, 0);
        let says = |wrong: bool, what: &str| if wrong { Err(format!("{what}: {given:?}")) } else { Ok(()) };
        says(given.path != PATHS[path], "of another URL")?;
        says(given.language != LANGUAGES[language], "another variant")?;
        says(is_own && (owner != caller || !is_new), "for one caller, served to another or twice")?;
        says(
            !is_public && !owner.is_empty() && (owner != caller || !is_new),
            "with credentials, served again",
        )?;
        says(given.step < self.taken_out[path], "older than what took it out")?;
        says(is_asked_about && given.good_step != self.step, "not asked about")?;
        let is_stale = given.good_step != self.step && age_ns >= (ttl_s + window_s) * SECOND;
        says(is_stale, "staler than is allowed")?;
        says(given.good_step < self.made_stale[path] && !has_windows, "made stale, and not asked about")
    }
}

/// Has everything that was begun beside a request come to its end.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

async fn take(
    bed: &Bed,
    world: &Rc<RefCell<World>>,
    step: &Step,
    seen: &mut HashMap<&str, usize>,
) -> Result<(), String> {
    let purge = |what, soft| bed.cache.store.purge(&Purge { what, soft }, clock::now(), None);
    let (number, all) = (world.borrow().step, [0, 1, 2]);
    match *step {
        Step::Get { path, caller, language } => {
            let mut asked = vec![("x-path", PATHS[path]), ("x-language", LANGUAGES[language])];
            asked.extend(CALLERS[caller].map(|caller| ("authorization", caller)));
            let got = bed.get(PATHS[path], &asked).await;
            *seen.entry(if got.1.contains("; hit") { "hits" } else { "others" }).or_default() += 1;
            world
                .borrow()
                .judge(&got, path, caller, language)
                .map_err(|wrong| format!("{got:?}: {wrong}"))?;
        }
        Step::Change { path, policy } => {
            let current = &mut world.borrow_mut().current[path];
            *current = (current.0 + 1, POLICIES[policy]);
        }
        Step::Post { path } => {
            world.borrow_mut().current[path].0 += 1;
            let is_done = bed.raw(Method::POST, PATHS[path], &[("x-path", PATHS[path])]).await.is_ok();
            if is_done {
                world.borrow_mut().taken_out[path] = number;
            }
        }
        Step::Purge { path, soft } => {
            purge(What::Url(format!("a{}", PATHS[path]).into_bytes()), soft);
            let mut world = world.borrow_mut();
            let steps = if soft { &mut world.made_stale } else { &mut world.taken_out };
            steps[path] = number;
        }
        Step::PurgeAll => {
            purge(What::All, false);
            all.iter().for_each(|&path| world.borrow_mut().taken_out[path] = number);
        }
        Step::Fails(fails) => world.borrow_mut().fails = fails,
        Step::Wait { ms } => tokio::time::advance(Duration::from_millis(ms)).await,
    }
    settle().await;
    // Two steps never are at the same moment.
    tokio::time::advance(Duration::from_micros(1)).await;
    Ok(())
}

/// Takes all steps; says what was seen on the way.
fn live(steps: &[Step]) -> Result<HashMap<&'static str, usize>, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let (bed, world) = (Bed::new(Overrides::default()), Rc::new(RefCell::new(World::new())));
        let origin = Rc::clone(&world);
        *bed.origin.answer.borrow_mut() = Box::new(move |request| origin.borrow_mut().answer(request));
        let mut seen = HashMap::new();
        for (number, step) in steps.iter().enumerate() {
            world.borrow_mut().step = number + 1;
            take(&bed, &world, step, &mut seen).await.map_err(|wrong| format!("step {number}: {wrong}"))?;
        }
        Ok(seen)
    })
}

proptest! {
    #[test]
    fn nobody_gets_what_is_anothers_or_was_taken_out_or_is_staler_than_was_allowed(
        steps in proptest::collection::vec(step(), 1..80)
    ) {
        let lived = live(&steps);
        prop_assert!(lived.is_ok(), "{}", lived.unwrap_err());
    }
}

#[test]
fn the_model_meets_a_cache_that_serves() {
    let get = |caller| Step::Get { path: 1, caller, language: 0 };
    let seen = live(&[get(0), get(0), get(1), Step::Purge { path: 1, soft: false }, get(0), get(2)]).unwrap();
    assert_eq!((seen["hits"], seen["others"]), (3, 2));
}

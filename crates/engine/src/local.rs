//! The plan as one core serves it: a pipeline for each route, with what the stages keep of one plan for the next.

use crate::core::Core;
use crate::pipeline::Pipeline;
use crate::plan::{Action, Plan, Route};
use crate::techniques::admit::Admit;
use crate::techniques::admit::watch::Watch;
use crate::techniques::attempt::Attempt;
use crate::techniques::balance::Balance;
use crate::techniques::cache::{Cache, Overrides};
use crate::techniques::compress::Compress;
use crate::techniques::edge::Edge;
use crate::techniques::edge::files::Directory;
use crate::techniques::region::Region;
use crate::upstream::Send;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use unlag_config::Network;

thread_local! {
    /// Built when it is first asked for, and anew when another plan is in force.
    static LOCAL: RefCell<Option<Rc<LocalPlan>>> = const { RefCell::new(None) };
}

/// A plan as one core uses it.
pub struct LocalPlan {
    /// The plan.
    pub plan: Arc<Plan>,
    /// One pipeline per route; none for fixed answers.
    pub pipelines: Vec<Option<Pipeline>>,
    core: Rc<Core>,
}

/// The plan in force on this core.
pub fn plan(core: &Rc<Core>) -> Rc<LocalPlan> {
    let generation = core.shared.generation();
    LOCAL.with_borrow_mut(|local| {
        let known = local.as_ref().filter(|known| Rc::ptr_eq(&known.core, core));
        match known {
            Some(known) if known.plan.generation == generation => Rc::clone(known),
            _ => {
                let built = Rc::new(LocalPlan::build(core, core.shared.current()));
                core.set_limits(built.plan.bounds.clone());
                *local = Some(Rc::clone(&built));
                built
            }
        }
    })
}

/// Notices another plan in force, before a request is read under the bounds of one and routed by another.
pub fn notice(core: &Rc<Core>) {
    drop(plan(core));
}

/// The core whose plan it is.
pub fn core() -> Option<Rc<Core>> {
    LOCAL.with_borrow(|local| local.as_ref().map(|local| Rc::clone(&local.core)))
}

/// Lets go of it at the end of the core's life.
pub fn forget() {
    LOCAL.set(None);
}

impl LocalPlan {
    fn build(core: &Rc<Core>, plan: Arc<Plan>) -> LocalPlan {
        let cache_name: Rc<str> = plan.cache_name.as_str().into();
        let trusted: Rc<[Network]> = plan.trusted.as_slice().into();
        let markers = plan.markers.as_ref().unwrap_or(&core.shared.markers);
        let pipelines = plan.routes.iter().map(|route| {
            let upstream = match &route.action {
                Action::Proxy(index) => plan.upstreams.get(*index)?,
                Action::Static(directory) => return Some(edge(core, directory, route)),
                Action::Respond { .. } => return None,
            };
            let send = Send::new(Arc::clone(upstream), Rc::clone(core));
            let name = &route.config.name;
            // Where nothing is stored there are changes all the same.
            let rules = route.cache.unwrap_or(Overrides { is_off: true, ..Overrides::default() });
            let store = Arc::clone(&core.shared.cache);
            let learned = store.learned(name);
            let cache = Cache::new(store, rules, learned, Rc::clone(&cache_name));
            let offered = Some(route.config.compress.clone()).filter(|offered| !offered.is_empty());
            let compress = offered.map(|offered| Compress::new(offered, Arc::clone(&core.shared.variants)));
            let (attempts, answers) = (core.shared.attempts.of(name), Arc::clone(&core.shared.answers));
            let attempt = Attempt::new(attempts, Arc::clone(upstream), answers, Arc::clone(markers));
            let region = Region::of(upstream, route.config.primary, Arc::clone(markers));
            let admission =
                (Admit::new(Arc::clone(upstream), Rc::clone(&trusted)), Watch::new(Arc::clone(upstream)));
            let balance = Balance::new(Arc::clone(upstream));
            Some(Pipeline::new(compress, cache, attempt, region, admission, balance, send))
        });
        let pipelines = pipelines.collect();
        LocalPlan { pipelines, plan, core: Rc::clone(core) }
    }
}

/// The pipeline of a route that serves files.
fn edge(core: &Rc<Core>, directory: &Arc<Directory>, route: &Route) -> Pipeline {
    let (files, variants) = (Arc::clone(&core.shared.files), Arc::clone(&core.shared.variants));
    let edge = Edge::new(Arc::clone(directory), route.config.pattern.clone(), files, variants);
    Pipeline::Edge(Rc::new(edge))
}

//! What changes something makes wrong what is stored of it (RFC 9111 §4.4), unless it says what is there now (RFC 9110 §9.3.3).

use super::fetch::Asking;
use super::purge::{Purge, What};
use super::{Cache, content, tags, url};
use crate::clock;
use crate::exchange::{Exchange, Outcome, Response};
use crate::http::Name;
use crate::pipeline::Next;
use http::Method;
use std::rc::Rc;

impl Cache {
    /// Passes on what it has nothing to do with. A change that began while there was nothing that it could make wrong may end when
    /// there is.
    pub async fn pass<N: Next>(&self, exchange: Box<Exchange>, next: &Rc<N>) -> Outcome {
        self.extra.earn();
        let mut response = next.run(exchange).await?;
        if response.request.is_some() && !self.store.is_quiet() {
            return Ok(self.passed(response));
        }
        response.request = None;
        Ok(response)
    }

    /// Passes on what was not looked up. What changes something makes what is stored of it wrong (RFC 9111 §4.4), unless it says
    /// what is there now (RFC 9110 §9.3.3).
    pub(super) fn passed(&self, mut response: Box<Response>) -> Box<Response> {
        let Some(request) = response.request.take() else { return response };
        if request.head.method.is_safe() || content::is_query(&request.head.method) {
            return response;
        }
        let told = &response.head.fields;
        let content = told.get_named("content-location");
        if !(200..400).contains(&response.head.status) {
            return response;
        }
        let (url, origin, now) = (url::of(&request), url::origin(&request), clock::now());
        let content = content.and_then(|value| url::resolve(&origin, value));
        let location = told.get(Name::Location).and_then(|value| url::resolve(&origin, value));
        for changed in content.iter().chain(&location).chain([&url]) {
            self.store.remove(changed, now);
        }
        for tag in tags::invalidated(told, &origin) {
            self.store.purge(&Purge { what: What::Tag(tag), soft: false }, now, None);
        }
        let tells = request.head.method == Method::POST && response.head.status == 200;
        if !tells || content.as_ref() != Some(&url) {
            return response;
        }
        let asking = Asking::alone(self, url).after_change(now);
        self.take(response, &request, asking)
    }
}

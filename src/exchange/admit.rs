//! Who calls, and whether there is room for the call.

use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::{Proxy, answer::Failure};
use crate::{
    guard::Meter,
    identity::{Caller, Certificate, Permit},
};

/// A caller, and the place that the call has among those in flight.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    pub(super) caller: Caller,
    pub(super) place: Place,
}

/// A call's place among its caller's, and among all. Both are given back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Place {
    permit: Permit,
    _room: Option<OwnedSemaphorePermit>,
}

impl Admitted {
    /// Charges what guards read to the caller.
    pub(super) fn meter(&self) -> Meter {
        self.place
            .permit
            .account()
            .map(Arc::clone)
            .map_or_else(Meter::default, |account| Meter::new(move |tokens| account.read(tokens)))
    }
}

impl Proxy {
    /// Finds out who calls, takes Seawall's own credentials out of the request, and lets the call in.
    pub(super) async fn admit(&self, request: &mut Request<Incoming>) -> Result<Admitted, Failure> {
        let certificate = request.extensions_mut().remove::<Certificate>();
        let (mut headers, mut uri) = (std::mem::take(request.headers_mut()), std::mem::take(request.uri_mut()));
        let caller = self.identity.caller(&mut headers, &mut uri, certificate.as_ref()).await;
        (*request.headers_mut(), *request.uri_mut()) = (headers, uri);
        let caller = caller.map_err(Failure::Unidentified)?;
        // Nobody takes room who is not known. Waiting for some would be a queue of requests without a bound.
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Failure::Overloaded(self.limits.calls))?;
        let permit = self.quotas.admit(&caller).map_err(Failure::Limited)?;
        Ok(Admitted { caller, place: Place { permit, _room: Some(room) } })
    }
}

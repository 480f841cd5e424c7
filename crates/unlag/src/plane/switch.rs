//! Switches of the admin API, turned.

use unlag_console::{Switch, SwitchError};
use unlag_engine::Engine;
use unlag_engine::techniques::admit::pin::Pin;

/// Turns one, for the plan in force and those that follow.
pub(super) fn turn(engine: &Engine, name: &str, switch: &Switch) -> Result<(), SwitchError> {
    let shared = engine.shared();
    let plan = shared.current();
    let upstream = plan.upstreams.iter().find(|upstream| *upstream.name == *name);
    let upstream = upstream.ok_or(SwitchError::NoUpstream)?;
    let drain = |address: &Option<String>, is_out| match address {
        _ if upstream.drain(address.as_deref(), is_out) => Ok(()),
        Some(address) => Err(SwitchError::Nothing(address.clone())),
        None => Err(SwitchError::NoEndpoints),
    };
    let pin = |pin| upstream.pin(pin).map_err(SwitchError::Nothing);
    match switch {
        Switch::Drain(address) => drain(address, true),
        Switch::Undrain(address) => drain(address, false),
        Switch::PinEndpoints(addresses) => pin(Some(Pin::Endpoints(addresses.clone()))),
        Switch::PinRegion(name) => {
            let is_named = |region: &_| shared.endpoints.region_name(*region).as_ref() == Some(name);
            let region = upstream.fleet().iter().filter_map(|endpoint| endpoint.region).find(is_named);
            let region = region.ok_or_else(|| SwitchError::Nothing(name.clone()))?;
            pin(Some(Pin::Region(region, name.clone())))
        }
        Switch::Unpin => pin(None),
    }
}

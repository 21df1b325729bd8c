//! Does a subscriber that never reads hurt others? A healthy pair alone, then beside one.

use crate::failure::Result;
use crate::plans;
use crate::report::Outcome;
use crate::settings::Settings;
use crate::throughput;

pub const RATIO: &str = "relative to alone";

pub fn run(shared: bool, settings: &Settings) -> Result<Outcome> {
    let alone = throughput::run("healthy pair alone", &plans::pairs(1), settings)?;
    let name = if shared {
        "healthy pair, slow subscriber on its subject"
    } else {
        "healthy pair beside a slow one"
    };
    let mut outcome = throughput::run(name, &plans::slow(shared), settings)?;
    outcome.failures.extend(
        alone
            .failures
            .iter()
            .map(|failure| format!("alone: {failure}")),
    );
    outcome.add_metric("alone", alone.delivered_per_second, "messages/s");
    outcome.add_metric(
        RATIO,
        outcome.delivered_per_second / alone.delivered_per_second.max(1.0),
        "",
    );
    Ok(outcome)
}

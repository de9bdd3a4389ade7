//! Which formats suit the hardware, by its profile: what decides between variants of like quality.
//! Must not compare variants.

use crate::Candidate;
use hardware::Host;

/// Why the format of a variant suits what computes it, where the profile says so.
pub(crate) fn preference<'a>(host: &'a Host, candidate: &Candidate, gpu_layers: u32) -> Option<&'a str> {
    let device = host.gpus.iter().find(|gpu| !gpu.unified && gpu.profile.is_some());
    let own = device.filter(|_| gpu_layers > 0).and_then(|gpu| gpu.profile.as_ref());
    let preferences = &own.or(host.profile.as_ref())?.prefer;
    let holds = preferences.iter().find(|preference| {
        let families = &preference.families;
        let named = families.is_empty() || families.contains(&candidate.description.family);
        named && preference.precisions.iter().any(|name| name.eq_ignore_ascii_case(&candidate.precision))
    });
    holds.map(|preference| preference.reason.as_str())
}

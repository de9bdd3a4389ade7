//! Devices whose driver allows no allocation as large as a variant's largest matrix: they serve other variants, not this one.
//! Owns that limit alone; must not know what else lies on a device.

use crate::choose::bytes;
use crate::{BackendDevice, Candidate, Code, Rejection, Request};

/// A device that a variant cannot use.
pub(crate) struct TooSmall {
    name: String,
    need_bytes: u64,
    have_bytes: u64,
}

/// The request with those of its devices that can allocate the variant's matrices, and the others. Variants of which only sums
/// are known pass.
pub(crate) fn sift(candidate: &Candidate, request: &Request) -> (Request, Vec<TooSmall>) {
    let need_bytes = candidate.work.as_ref().map_or(0, |work| work.largest_matrix_bytes);
    let most = |device: &BackendDevice| device.max_allocation_bytes.unwrap_or(u64::MAX);
    let mut sifted = request.clone();
    sifted.devices.retain(|device| most(device) >= need_bytes);
    let small = request.devices.iter().filter(|device| most(device) < need_bytes);
    let small =
        small.map(|device| TooSmall { name: device.name.clone(), need_bytes, have_bytes: most(device) });
    (sifted, small.collect())
}

impl TooSmall {
    /// Why the device is left out, in a sentence.
    pub(crate) fn text(&self) -> String {
        let (need, have) = (bytes(self.need_bytes), bytes(self.have_bytes));
        format!("nothing on {}: one matrix takes {need}, its largest allocation is {have}", self.name)
    }

    /// The same against a variant that has no other place.
    pub(crate) fn rejection(&self, id: &str) -> Rejection {
        Rejection {
            id: id.into(),
            code: Code::MaxAlloc,
            need_bytes: Some(self.need_bytes),
            have_bytes: Some(self.have_bytes),
            shortfall_bytes: Some(self.need_bytes.saturating_sub(self.have_bytes)),
            fix: format!("{}; choose a smaller precision", self.text()),
        }
    }
}

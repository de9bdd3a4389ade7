//! Caches of engines that choose their types themselves. Must not know which engines those are.

use super::MemoryEstimate;
use formats::gguf::GgmlType;

/// How an engine keeps keys and values that lets nobody choose their types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnCache {
    /// Type of keys and values.
    pub ty: GgmlType,
    /// Bytes of one token's keys and values, all layers together.
    pub bytes_per_token: u64,
    /// How often it is there at once: twice, where a run gives another one back.
    pub copies: u32,
}

impl OwnCache {
    /// Bytes of all that is there of a context.
    pub(crate) fn bytes(&self, context_tokens: u64) -> u64 {
        self.bytes_per_token.saturating_mul(context_tokens).saturating_mul(self.copies.into())
    }

    /// Takes the place of the caches that were counted; as large a share lies on the device.
    pub(crate) fn replace(&self, memory: &mut MemoryEstimate, context_tokens: u64) {
        let bytes = self.bytes(context_tokens);
        let share = |of: u64| (of as f64 * bytes as f64 / memory.kv_bytes.max(1) as f64) as u64;
        let on_device = share(memory.device_kv_bytes).min(bytes);
        let others = memory.device_bytes.saturating_sub(memory.device_kv_bytes);
        memory.kv_bytes = bytes;
        memory.device_kv_bytes = on_device;
        memory.device_bytes = others.saturating_add(on_device);
        memory.largest_allocation_bytes = memory.largest_allocation_bytes.max(on_device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_copies_count_and_shares_stay() {
        let cache = OwnCache { ty: GgmlType::F32, bytes_per_token: 1000, copies: 2 };
        let before = MemoryEstimate {
            kv_bytes: 400_000,
            device_kv_bytes: 100_000,
            device_bytes: 150_000,
            ..MemoryEstimate::default()
        };
        let mut memory = before;
        cache.replace(&mut memory, 400);
        assert_eq!(
            (memory.kv_bytes, memory.device_kv_bytes, memory.device_bytes),
            (800_000, 200_000, 250_000)
        );
        let mut memory = MemoryEstimate { device_kv_bytes: 0, device_bytes: 0, ..before };
        cache.replace(&mut memory, 400);
        assert_eq!((memory.kv_bytes, memory.device_bytes, memory.host_bytes()), (800_000, 0, 800_000));
    }
}

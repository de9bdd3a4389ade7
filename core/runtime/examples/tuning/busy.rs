//! Other processes that compute: this program again, each a loop on one thread.

use std::error::Error;
use std::process::{Child, Command, Stdio};

/// The word that makes this program such a process.
pub(crate) const WORD: &str = "busy";

/// Processes that compute as long as this lives.
pub(crate) struct Busy(Vec<Child>);

impl Busy {
    pub(crate) fn start(count: u32) -> Result<Self, Box<dyn Error>> {
        let program = std::env::current_exe()?;
        let start = |_| Command::new(&program).arg(WORD).stdin(Stdio::null()).spawn();
        Ok(Self((0..count).map(start).collect::<Result<_, _>>()?))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that ended by itself is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Computes until it is killed.
pub(crate) fn compute() -> ! {
    let mut state = 1_u64;
    loop {
        state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

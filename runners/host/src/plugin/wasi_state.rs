//! Clocks and random numbers of a guest: they follow from the task, so that a second run sees the same.

/// How far the clock moves when it is read, so that loops that wait for time to pass end.
pub(super) const READING_NS: u64 = 1000;

/// What a guest sees of the world.
#[derive(Debug)]
pub struct WasiState {
    pub(super) epoch_s: u64,
    pub(super) now_ns: u64,
    random: u64,
}

impl WasiState {
    /// A world that began at the commit's time, in seconds since 1970.
    pub const fn new(epoch_s: u64) -> Self {
        Self {
            epoch_s,
            now_ns: 0,
            random: epoch_s,
        }
    }

    pub(super) const fn read_clock(&mut self) -> u64 {
        self.now_ns = self.now_ns.saturating_add(READING_NS);
        self.now_ns
    }

    pub(super) const fn wait_until(&mut self, due_ns: u64) {
        if self.now_ns < due_ns {
            self.now_ns = due_ns;
        }
    }

    /// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014), written out so that no update of a
    /// crate changes what a plugin sees.
    pub(super) const fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn random_bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.random().to_le_bytes());
        words.flatten().take(count).collect()
    }
}

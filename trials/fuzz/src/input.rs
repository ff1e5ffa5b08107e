//! Bytes, read one decision at a time. When they are used up every answer is 0, so an input always ends.

use std::cell::Cell;

pub struct Input {
    bytes: Vec<u8>,
    at: Cell<usize>,
}

impl Input {
    pub fn new(bytes: &[u8]) -> Input {
        Input { bytes: bytes.to_vec(), at: Cell::new(0) }
    }

    pub fn is_over(&self) -> bool {
        self.at.get() >= self.bytes.len()
    }

    pub fn byte(&self) -> u8 {
        let at = self.at.get();
        self.at.set(at + 1);
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// A number below `limit`, which is at most 256.
    pub fn below(&self, limit: usize) -> usize {
        self.byte() as usize % limit.max(1)
    }

    /// One of `len` things, if there are any.
    pub fn pick(&self, len: usize) -> Option<usize> {
        let pick = self.byte() as usize;
        (len > 0).then(|| pick % len)
    }

    pub fn u16(&self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub fn u32(&self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }

    pub fn u64(&self) -> u64 {
        u64::from(self.u32()) | u64::from(self.u32()) << 32
    }

    /// At most `most` bytes.
    pub fn bytes(&self, most: usize) -> Vec<u8> {
        let n = self.below(most + 1);
        (0..n).map(|_| self.byte()).collect()
    }

    /// All that is left.
    pub fn rest(&self) -> &[u8] {
        let at = self.at.replace(self.bytes.len()).min(self.bytes.len());
        &self.bytes[at..]
    }
}

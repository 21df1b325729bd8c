//! Finding the delimiters of a control line without a branch per byte.

/// Bytes looked at in one go.
pub const BLOCK_BYTES: usize = 64;

/// Bit `i` is set when byte `i` is a space or below: space, tab, CR, LF, and the control bytes
/// that no line should hold.
#[inline(always)]
pub fn delimiters(block: &[u8; BLOCK_BYTES]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{
            __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8,
            _mm_set1_epi8,
        };
        // SAFETY: SSE2 is part of the x86-64 baseline, and the four unaligned loads of 16 bytes
        // stay within the 64 bytes of `block`.
        unsafe {
            let space = _mm_set1_epi8(b' ' as i8);
            let mut mask = 0u64;
            let mut part = 0;
            while part < 4 {
                let bytes = _mm_loadu_si128(block.as_ptr().add(part * 16).cast::<__m128i>());
                let low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, space), bytes);
                mask |= (_mm_movemask_epi8(low) as u32 as u64) << (part * 16);
                part += 1;
            }
            mask
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let mut mask = 0u64;
        for (i, &byte) in block.iter().enumerate() {
            mask |= u64::from(byte <= b' ') << i;
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_loop() {
        let mut prng = crate::base::prng::Prng::new(1);
        for _ in 0..1000 {
            let block: [u8; BLOCK_BYTES] = std::array::from_fn(|_| match prng.below(4) {
                0 => b" \t\r\n\0"[prng.below(5) as usize],
                _ => prng.next_u64() as u8,
            });
            let expected = (0..BLOCK_BYTES)
                .filter(|&i| block[i] <= b' ')
                .fold(0u64, |mask, i| mask | 1 << i);
            assert_eq!(delimiters(&block), expected);
        }
    }
}

//! Comparing and copying short byte strings without calling out.

/// Whether two byte strings are the same. Subjects are short: up to 32 bytes are compared with
/// two overlapping loads from each, inline.
#[inline(always)]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let len = a.len();
    if len != b.len() {
        return false;
    }
    if len > 32 {
        return a == b;
    }
    if len >= 16 {
        return pair::<16>(a) == pair::<16>(b);
    }
    if len >= 8 {
        return pair::<8>(a) == pair::<8>(b);
    }
    if len >= 4 {
        return pair::<4>(a) == pair::<4>(b);
    }
    // At most three bytes: the first, the middle and the last are all of them.
    len == 0 || (a[0], a[len / 2], a[len - 1]) == (b[0], b[len / 2], b[len - 1])
}

/// The first and the last `N` bytes, which overlap where there are fewer than `2 * N`.
#[inline(always)]
fn pair<const N: usize>(bytes: &[u8]) -> Option<([u8; N], [u8; N])> {
    Some((*bytes.first_chunk()?, *bytes.last_chunk()?))
}

/// The beginning of some bytes will be looked at soon: a hint that changes nothing.
#[inline(always)]
pub fn prefetch(bytes: &[u8]) {
    const LINE_BYTES: usize = 64;
    const LINES: usize = 4;
    for line in bytes.chunks(LINE_BYTES).take(LINES) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every processor of this architecture has the instruction, and it never faults.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn agrees_with_the_plain_comparison() {
        for len in 0..80 {
            let a: Vec<u8> = (0..len).map(|i| i as u8).collect();
            assert!(same(&a, &a.clone()), "{len}");
            assert!(!same(&a, &[&a[..], b"x"].concat()), "{len}");
            for changed in 0..len {
                let mut b = a.clone();
                b[changed] ^= 1;
                assert!(!same(&a, &b), "{len} at {changed}");
            }
        }
    }
}

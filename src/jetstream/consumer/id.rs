//! Ids of events and of pins.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `count` random letters and digits; at most ten of one number.
pub fn push_random(count: usize, mut random: impl FnMut() -> u64, to: &mut String) {
    let mut rest = 0;
    for at in 0..count {
        if at % 10 == 0 {
            rest = random();
        }
        to.push(char::from(DIGITS[(rest % 62) as usize]));
        rest /= 62;
    }
}

/// An id of 22 characters, as of events and pins.
pub fn new(random: impl FnMut() -> u64) -> String {
    let mut id = String::with_capacity(22);
    push_random(22, random, &mut id);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let mut prng = crate::base::prng::Prng::new(1);
        let (one, other) = (new(|| prng.next_u64()), new(|| prng.next_u64()));
        assert!(one.len() == 22 && one.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(one, other);
    }
}

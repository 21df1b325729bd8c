//! Names by chance: of events, pins, consumers, subjects that nobody else has.

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// As many as one random number has.
const OF_ONE: usize = 10;

/// So many letters and digits.
pub fn random(count: usize, mut number: impl FnMut() -> u64) -> String {
    let mut rest = 0;
    (0..count)
        .map(|at| {
            if at % OF_ONE == 0 {
                rest = number();
            }
            let letter = LETTERS[(rest % 62) as usize];
            rest /= 62;
            char::from(letter)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn are_letters_and_digits_and_differ() {
        let mut prng = Prng::new(1);
        for count in [4, 8, 22] {
            let mut one = || random(count, || prng.next_u64());
            let (first, second) = (one(), one());
            assert_ne!(first, second);
            assert_eq!(first.len(), count);
            assert!(first.bytes().all(|b| b.is_ascii_alphanumeric()), "{first}");
        }
        // All of them are by chance, not only the first ten.
        let long = random(22, || prng.next_u64());
        assert!(long[10..].bytes().any(|letter| letter != b'0'), "{long}");
    }
}

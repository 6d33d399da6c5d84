//! Keccak-256 of a short message, for the checksum in Ethereum's addresses: SHA-3 before its padding was changed.

/// Bytes that one permutation takes in; a message must be shorter.
const RATE: usize = 136;

/// The hash of a message of less than [`RATE`] bytes; of a longer one, that of its beginning.
pub(super) fn keccak256(message: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; RATE];
    let padded = message.iter().take(RATE - 1).copied().chain([1]);
    block.iter_mut().zip(padded).for_each(|(to, from)| *to = from);
    if let Some(last) = block.last_mut() {
        *last |= 0x80;
    }
    let mut state = [0_u64; 25];
    for (lane, bytes) in state.iter_mut().zip(block.as_chunks::<8>().0) {
        *lane = u64::from_le_bytes(*bytes);
    }
    permute(&mut state);
    let mut hash = [0; 32];
    hash.iter_mut().zip(state.iter().flat_map(|lane| lane.to_le_bytes())).for_each(|(to, from)| *to = from);
    hash
}

/// Keccak-f[1600]; lane (x, y) stands at x + 5y.
#[expect(clippy::indexing_slicing, reason = "every index is taken modulo the array's length")]
fn permute(state: &mut [u64; 25]) {
    let mut register = 1_u8;
    for _ in 0..24 {
        let parity: [u64; 5] = std::array::from_fn(|x| (0..5).fold(0, |sum, y| sum ^ state[x + 5 * y]));
        for at in 0..25 {
            state[at] ^= parity[(at + 4) % 5] ^ parity[(at + 1) % 5].rotate_left(1);
        }
        let (mut x, mut y, mut moved) = (1, 0, state[1]);
        for step in 1..25_u32 {
            (x, y) = (y, (2 * x + 3 * y) % 5);
            moved = std::mem::replace(&mut state[x + 5 * y], moved.rotate_left(step * (step + 1) / 2 % 64));
        }
        let before = *state;
        for at in 0..25 {
            let row = at - at % 5;
            state[at] = before[at] ^ (!before[row + (at + 1) % 5] & before[row + (at + 2) % 5]);
        }
        // The round's constant, from a shift register.
        for bit in 0..7 {
            if register & 1 == 1 {
                state[0] ^= 1 << ((1 << bit) - 1);
            }
            register = register << 1 ^ if register & 0x80 == 0 { 0 } else { 0x71 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::keccak256;

    #[test]
    fn known_answers() {
        let hex = |message: &[u8]| keccak256(message).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(b""), "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470");
        assert_eq!(hex(b"abc"), "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45");
    }
}

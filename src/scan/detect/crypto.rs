//! Addresses of coins: those that carry a checksum must have the right one.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;
use sha2::{Digest, Sha256};

use super::{keccak, pattern, secret};

static WORD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?-u:\b)(?:0x[0-9a-fA-F]{40}|(?:bc1|tb1|ltc1)[02-9ac-hj-np-z]{11,87}|(?:BC1|LTC1)[02-9AC-HJ-NP-Z]{11,87}",
        r"|[13LMDTr][1-9A-HJ-NP-Za-km-z]{24,34})(?-u:\b)",
    ))
});

const BITCOIN: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const RIPPLE: &str = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz";
const BECH32: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

/// The addresses in the text.
pub(super) fn find(text: &str) -> impl Iterator<Item = (&'static str, Range<usize>)> {
    WORD.find_iter(text).filter_map(|found| Some((coin(found.as_str())?, found.range())))
}

fn coin(word: &str) -> Option<&'static str> {
    if let Some(hex) = word.strip_prefix("0x") {
        return ethereum(hex).then_some("crypto_address.ethereum");
    }
    let lower = word.to_ascii_lowercase();
    if let Some((kind, data)) = lower.split_once('1').filter(|(kind, _)| matches!(*kind, "bc" | "tb" | "ltc")) {
        return bech32(kind, data).then_some(if kind == "ltc" { "crypto_address.litecoin" } else { "crypto_address.bitcoin" });
    }
    match base58(word, BITCOIN) {
        Some(0x00 | 0x05) => Some("crypto_address.bitcoin"),
        Some(0x30 | 0x32) => Some("crypto_address.litecoin"),
        Some(0x1E) => Some("crypto_address.dogecoin"),
        Some(0x41) => Some("crypto_address.tron"),
        _ => (base58(word, RIPPLE) == Some(0x00)).then_some("crypto_address.ripple"),
    }
}

/// The version byte of an address in Base58Check.
fn base58(word: &str, alphabet: &str) -> Option<u8> {
    let mut bytes = [0_u8; 25];
    for c in word.chars() {
        let mut carry = u32::try_from(alphabet.find(c)?).ok()?;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = (carry & 0xFF) as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return None;
        }
    }
    let (payload, checksum) = bytes.split_at_checked(21)?;
    let hash = Sha256::digest(Sha256::digest(payload));
    (hash.get(..4)? == checksum).then_some(())?;
    payload.first().copied()
}

/// Whether the checksum of a witness address is right: Bech32 for version 0, Bech32m for those after it (BIP 173, BIP 350).
fn bech32(kind: &str, data: &str) -> bool {
    let expanded = kind.bytes().map(|b| b >> 5).chain([0]).chain(kind.bytes().map(|b| b & 31));
    let values = data.chars().map_while(|c| u8::try_from(BECH32.find(c)?).ok());
    let sum = expanded.chain(values).fold(1_u32, |sum, value| {
        let top = sum >> 25;
        let generators = [0x3B6A_57B2, 0x2650_8E6D, 0x1EA1_19FA, 0x3D42_33DD, 0x2A14_62B3];
        let shifted = (sum & 0x01FF_FFFF) << 5 ^ u32::from(value);
        generators.iter().enumerate().filter(|(bit, _)| top >> bit & 1 == 1).fold(shifted, |sum, (_, by)| sum ^ by)
    });
    sum == if data.starts_with('q') { 1 } else { 0x2BC8_30A3 }
}

/// Letters in both cases are a checksum (EIP-55); in one case there is none, and a filler such as forty zeroes is no address.
fn ethereum(hex: &str) -> bool {
    let lower = hex.to_ascii_lowercase();
    if secret::distinct(&lower) < 6 {
        return false;
    }
    if lower == hex || hex.to_ascii_uppercase() == hex {
        return true;
    }
    let hash = keccak::keccak256(lower.as_bytes());
    let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    hex.bytes().zip(nibbles).all(|(b, nibble)| !b.is_ascii_alphabetic() || b.is_ascii_uppercase() == (nibble > 7))
}

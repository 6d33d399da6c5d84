//! The policies that come with Seawall, and their tests, by name.

use std::path::PathBuf;

use super::Source;

/// A policy that comes with Seawall.
#[derive(Debug)]
pub struct Shipped {
    /// Its name, which stands for it where a path can.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
    /// The file of its tests.
    pub tests: &'static str,
}

macro_rules! embed {
    ($($name:literal),+ $(,)?) => {
        &[$(Shipped {
            name: $name,
            text: include_str!(concat!("../../policies/", $name, ".toml")),
            tests: include_str!(concat!("../../policies/", $name, ".test.toml")),
        }),+]
    };
}

/// All of them; the first is in force where none is named.
const SHIPPED: &[Shipped] = embed!["baseline"];

impl Shipped {
    /// Its text, as if it were a file.
    #[must_use]
    pub fn source(&self) -> Source {
        (PathBuf::from(format!("{}.toml", self.name)), self.text.to_owned())
    }
}

/// All of them; the first is in force where none is named.
#[must_use]
pub fn shipped() -> &'static [Shipped] {
    SHIPPED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policies, tests::TERMS};

    #[test]
    fn each_loads_under_its_name() {
        for shipped in shipped() {
            let set = Policies::parse(&[shipped.source()], &TERMS).unwrap();
            assert_eq!(set.names().collect::<Vec<_>>(), [shipped.name]);
        }
    }
}

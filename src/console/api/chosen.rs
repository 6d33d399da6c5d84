//! Cases that something is done to at once.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    console::Failure,
    review::{Chosen, Filter},
};

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Several {
    /// Cases by their ids.
    ids: Option<Vec<String>>,
    /// Or all that a filter lets through.
    filter: Option<Filter>,
}

impl Several {
    /// Which they are. A filter that names nothing is more likely a mistake than a wish.
    pub(super) fn chosen(self) -> Result<Chosen, Failure> {
        match (self.ids, self.filter) {
            (Some(ids), None) => Ok(Chosen::Ids(ids)),
            (None, Some(filter)) if !filter.is_all() => Ok(Chosen::All(filter)),
            (None, Some(_)) => Err(Failure::unread("`filter` lets every case through: name something, such as `until`")),
            _ => Err(Failure::unread("name one of `ids` and `filter`")),
        }
    }
}

//! `seawall review export`

use clap::{Args, ValueEnum};
use futures_util::{TryStreamExt as _, future::ready, pin_mut};
use serde_json::json;

use super::{StoreArgs, actor, filter::FilterArgs};
use crate::{
    cli::{Failed, failed, say},
    review::{Action, Filter, export},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// What is written
    #[arg(long, value_enum, default_value_t = Format::Cases)]
    format: Format,
    /// With `labelled`, also texts that reviewers do not agree on or have yet to decide; they carry no label
    #[arg(long)]
    undecided: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// JSON Lines that `seawall scan` and `seawall policy replay` read: a case a line
    Cases,
    /// JSON Lines that `seawall eval` and `seawall guard calibrate` read: a text a line, labelled as reviewers decided
    Labelled,
    /// For spreadsheets: a case a row
    Csv,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Cases => "cases",
            Self::Labelled => "labelled",
            Self::Csv => "csv",
        }
    }
}

impl Export {
    pub(super) async fn run(self) -> Result<(), Failed> {
        let (store, filter) = (self.store.open().await?, Filter::from(self.filter));
        // What cannot be told of is not taken out.
        let detail = json!({ "format": self.format.name(), "filter": filter.told() });
        store.audit(&actor(), Action::Export, None, &detail).await.map_err(failed)?;
        match self.format {
            Format::Cases => {
                let lines = export::cases(&store, filter).map_err(failed);
                lines.try_for_each(|line| ready(say(line))).await
            }
            Format::Labelled => {
                let lines = export::labelled(&store, filter, self.undecided).map_err(failed);
                lines.try_for_each(|line| ready(say(line))).await
            }
            Format::Csv => {
                let rows = export::csv(&store, filter);
                pin_mut!(rows);
                while let Some(row) = rows.try_next().await.map_err(failed)? {
                    say(row.trim_end())?;
                }
                Ok(())
            }
        }
    }
}

//! The reviewers' pages: plain structs and the views over them, and the calls that fill these from the record.
//!
//! No view asks the store and no handler writes markup. Everything works by forms and links; the script makes it quick.

mod act;
mod assets;
mod audit;
mod case;
mod charts;
mod conversation;
mod done;
mod evidence;
mod exceptions;
mod export;
mod layout;
mod live;
mod look;
mod offer;
mod parts;
mod query;
mod queue;
#[cfg(test)]
mod served;
mod svg;
#[cfg(test)]
mod tests;
mod text;
mod visit;
mod whole;
mod windows;

use super::{Access, Route};
use crate::config::Role;

/// The pages, and what their forms do.
pub(super) fn routes() -> [Route; 15] {
    [
        Route::get("/review", Role::Viewer, look::queue),
        Route::get("/review/live", Role::Viewer, live::live),
        Route::get("/review/cases/{id}", Role::Viewer, look::case),
        Route::get("/review/cases/{id}/texts/{direction}/{number}", Role::Viewer, look::text),
        Route::get("/review/charts", Role::Viewer, look::charts),
        Route::get("/review/exceptions", Role::Viewer, look::exceptions),
        Route::get("/review/export.jsonl", Role::Viewer, export::jsonl),
        Route::get("/review/export.csv", Role::Viewer, export::csv),
        Route::get("/review/audit", Role::Admin, look::audit),
        Route::post("/review/decide", Role::Reviewer, act::decide_many),
        Route::post("/review/undo", Role::Reviewer, act::undo),
        Route::post("/review/cases/{id}/decide", Role::Reviewer, act::decide),
        Route::post("/review/cases/{id}/exceptions", Role::Reviewer, act::except),
        Route::post("/review/exceptions/{id}/remove", Role::Reviewer, act::remove),
        Route::get("/review/assets/{name}", Access::Open, assets::get),
    ]
}

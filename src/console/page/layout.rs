//! What stands around every page: head, navigation, what was just done, the keys' help.

use maud::{DOCTYPE, Markup, html};

use super::{
    assets,
    parts::{Icon, csrf},
    text::plain,
};

/// The rooms of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Queue,
    Charts,
    Exceptions,
    Audit,
}

/// Who looks, and at what.
#[derive(Debug)]
pub(super) struct Shell<'a> {
    /// The page's name.
    pub(super) title: &'a str,
    /// Where in the navigation it is.
    pub(super) room: Room,
    /// The signed-in person.
    pub(super) name: &'a str,
    /// Their role.
    pub(super) role: &'a str,
    /// Whether they may see the audit trail.
    pub(super) admin: bool,
    /// The session's token for forms.
    pub(super) csrf: &'a str,
    /// What they just did.
    pub(super) done: Option<&'a Toast>,
}

/// What was just done, told on the next page.
#[derive(Debug, Default)]
pub(super) struct Toast {
    /// In words.
    pub(super) said: String,
    /// It did not work.
    pub(super) failed: bool,
    /// Cases whose decision can be taken back.
    pub(super) undo: Vec<String>,
}

impl Shell<'_> {
    /// The whole page.
    pub(super) fn page(&self, main: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                (head(self.title))
                body {
                    a.skip href="#main" { "Skip to the content" }
                    header.top {
                        a.brand href="/review" { (Icon::Wave.svg()) "Seawall" }
                        nav aria-label="Main" { ul {
                            (self.link(Room::Queue, "/review", "Queue"))
                            (self.link(Room::Charts, "/review/charts", "Charts"))
                            (self.link(Room::Exceptions, "/review/exceptions", "Exceptions"))
                            @if self.admin { (self.link(Room::Audit, "/review/audit", "Audit")) }
                        } }
                        div.tools {
                            button.ghost.scripted type="button" id="theme" aria-label="Switch between light and dark"
                                title="Light or dark" { (Icon::Theme.svg()) }
                            button.ghost.scripted type="button" id="keys" aria-label="Keyboard keys" title="Keyboard keys (?)" {
                                (Icon::Keys.svg())
                            }
                            (self.person())
                        }
                    }
                    (self.told())
                    main id="main" tabindex="-1" { (main) }
                    (keys())
                }
            }
        }
    }

    fn link(&self, room: Room, href: &str, name: &str) -> Markup {
        html! { li { a href=(href) aria-current=[(self.room == room).then_some("page")] { (name) } } }
    }

    fn person(&self) -> Markup {
        let initial: String = self.name.chars().take(1).flat_map(char::to_uppercase).collect();
        html! {
            details.menu {
                summary aria-label="Account" title="Account" { span.face aria-hidden="true" { (plain(&initial)) } }
                div {
                    p { strong { (plain(self.name)) } br; span.dim { (self.role) } }
                    form method="post" action="/review/sign-out" { (csrf(self.csrf)) button type="submit" { "Sign out" } }
                }
            }
        }
    }

    /// The region is there from the start, so that a change in it is read aloud.
    fn told(&self) -> Markup {
        html! {
            div.told role="status" {
                @if let Some(done) = self.done {
                    div class=(if done.failed { "toast failed" } else { "toast" }) {
                        p { (plain(&done.said)) }
                        @if !done.undo.is_empty() {
                            form method="post" action="/review/undo" data-swap {
                                (csrf(self.csrf))
                                @for case in &done.undo { input type="hidden" name="case" value=(case); }
                                button.link type="submit" data-undo { (Icon::Undo.svg()) "Undo" }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A page of a few words.
pub(super) fn bare(title: &str, words: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body { main.narrow id="main" { h1 { (title) } (words) a.button href="/review" { "To the queue" } } }
        }
    }
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            title { (title) " · Seawall" }
            link rel="icon" type="image/svg+xml" href=(assets::href("icon.svg"));
            link rel="stylesheet" href=(assets::href("review.css"));
            // Before anything is drawn, so that no page flashes in the other theme.
            script src=(assets::href("theme.js")) {}
            script src=(assets::href("review.js")) defer {}
        }
    }
}

fn keys() -> Markup {
    let keys = [
        ("j", "next case"),
        ("k", "previous case"),
        ("o or Enter", "open the case"),
        ("r", "the flag is right"),
        ("w", "the flag is wrong"),
        ("u", "take the last decision back"),
        ("n", "write a note"),
        ("x", "select the case"),
        ("/", "search"),
        ("g", "back to the queue"),
        ("Esc", "leave a field, clear the selection"),
        ("?", "this help"),
    ];
    html! {
        dialog id="help" aria-labelledby="help-title" {
            form method="dialog" {
                h2 id="help-title" { "Keyboard keys" }
                dl.keys { @for (key, does) in keys { div { dt { kbd { (key) } } dd { (does) } } } }
                button.primary autofocus { "Close" }
            }
        }
    }
}

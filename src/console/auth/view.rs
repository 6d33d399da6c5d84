//! The pages that are shown to those who have not signed in.

use maud::{DOCTYPE, Markup, html};

use super::sign_in;

/// Where the style of all pages is, and the theme that somebody chose on one of them.
const STYLE: &str = "/review/assets/review.css";
const THEME: &str = "/review/assets/theme.js";
const ICON: &str = "/review/assets/icon.svg";

/// In which ways somebody can sign in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ways {
    pub(super) password: bool,
    pub(super) oidc: bool,
}

/// The sign-in, and what went wrong with the last try; afterwards the browser goes on to `next`.
pub(super) fn sign_in(ways: Ways, wrong: Option<&str>, next: &str) -> Markup {
    let Ways { password, oidc } = ways;
    page(&html! {
        h1 { "Sign in" }
        @if let Some(wrong) = wrong {
            p class="alert" role="alert" { (wrong) }
        }
        @if password {
            form method="post" action=(sign_in::PATH) class="fields" {
                input type="hidden" name="next" value=(next);
                label for="name" { "Name" }
                input id="name" name="name" autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus;
                label for="password" { "Password" }
                input id="password" name="password" type="password" autocomplete="current-password" required;
                button class="primary" { "Sign in" }
            }
        }
        @if oidc {
            p { a class="button" href=(sign_in::at_provider(next)) { "Sign in with your organisation" } }
        }
        @if !password && !oidc {
            p {
                "Nobody can sign in yet. " code { "seawall user new NAME --role admin" } " makes the lines for "
                code { "seawall.toml" } " that let somebody in."
            }
        }
    })
}

/// A few words in place of what was asked for.
pub(super) fn notice(text: &str) -> Markup {
    page(&html! {
        h1 { "That did not work" }
        p class="alert" role="alert" { (text) }
        p { a href=(sign_in::HOME) { "Back to the review" } }
    })
}

/// A page that asks for the next one itself, as only then browsers send the session's cookie on a way that began elsewhere.
pub(super) fn onward(next: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content={ "0; url=" (next) };
                title { "Seawall" }
                (icon())
            }
            body { p { a href=(next) { "Go on" } } }
        }
    }
}

fn page(main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Seawall review" }
                (icon())
                link rel="stylesheet" href=(STYLE);
                script src=(THEME) {}
            }
            body { main class="narrow" { (main) } }
        }
    }
}

/// Without it browsers ask for one where none is.
fn icon() -> Markup {
    html! { link rel="icon" type="image/svg+xml" href=(ICON); }
}

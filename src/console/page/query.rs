//! What the queue's address asks, as it is written there: pages say it back in their fields and carry it on in their links.

use std::str::FromStr;

use form_urlencoded::{Serializer, parse};

use crate::{
    review::{Filter, Moment, Place, State},
    segment::Direction,
};

/// The fields of the filter; what else an address says is not carried on.
const FIELDS: [&str; 11] =
    ["q", "state", "decision", "rule", "direction", "language", "tenant", "score_from", "score_to", "since", "until"];

/// The fields that were given something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    /// Reads the query of an address.
    pub(super) fn new(query: &str) -> Self {
        let fields = parse(query.as_bytes()).into_owned();
        Self(fields.filter(|(name, value)| FIELDS.contains(&name.as_str()) && !value.trim().is_empty()).collect())
    }

    /// A field's value, empty if it was not given.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    /// What it asks of the record. A queue that says no more is that of open cases.
    ///
    /// # Errors
    /// What cannot be asked, in words for a reader.
    pub(super) fn filter(&self) -> Result<Filter, String> {
        let text = |name: &str| Some(self.get(name)).filter(|value| !value.is_empty()).map(str::to_owned);
        let state = match self.get("state") {
            "" => Some(State::Open),
            "all" => None,
            other => Some(State::named(other).ok_or_else(|| format!("There is no state `{other}`."))?),
        };
        let direction = match self.get("direction") {
            "" => None,
            "request" => Some(Direction::Request),
            "response" => Some(Direction::Response),
            other => return Err(format!("There is no direction `{other}`.")),
        };
        Ok(Filter {
            since: self.read::<Moment>("since", "Time")?,
            until: self.read::<Moment>("until", "Time")?,
            rule: text("rule"),
            direction,
            language: text("language"),
            tenant: text("tenant"),
            decision: text("decision"),
            state,
            min_score: self.read::<f32>("score_from", "Score")?,
            max_score: self.read::<f32>("score_to", "Score")?,
            search: text("q"),
            ..Filter::default()
        })
    }

    fn read<T: FromStr<Err: ToString>>(&self, name: &str, label: &str) -> Result<Option<T>, String> {
        let value = self.get(name);
        let read = (!value.is_empty()).then(|| value.parse::<T>()).transpose();
        read.map_err(|why| format!("{label}: {}", why.to_string()))
    }

    /// The fields that narrow the queue, but for its tab.
    pub(super) fn narrowed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter(|(name, _)| name != "state").map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// An address with these fields, some of them changed; an empty value leaves a field out.
    pub(super) fn href(&self, path: &str, changed: &[(&str, &str)]) -> String {
        let same = self.0.iter().filter(|(name, _)| !changed.iter().any(|(field, _)| field == name));
        let changed = changed.iter().copied().filter(|(_, value)| !value.is_empty());
        let mut query = Serializer::new(String::new());
        query.extend_pairs(same).extend_pairs(changed);
        match query.finish().as_str() {
            "" => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }
}

/// The queue's address where one field, of all cases, has this value.
pub(super) fn link(field: &str, value: &str) -> String {
    Asked::default().href("/review", &[("state", "all"), (field, value)])
}

/// A place in the queue as addresses carry it.
pub(super) fn told(Place { at_ms, id }: &Place) -> String {
    format!("{at_ms}.{id}")
}

/// The place that a field of an address names.
pub(super) fn place(query: &str, field: &str) -> Option<Place> {
    let (_, value) = parse(query.as_bytes()).find(|(name, _)| name == field)?;
    let (at_ms, id) = value.split_once('.')?;
    Some(Place { at_ms: at_ms.parse().ok()?, id: id.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_carried_on() {
        let asked = Asked::new("q=a%26b+c&state=wrong&tenant=&evil=1&rule=<b>");
        assert_eq!((asked.get("q"), asked.get("tenant"), asked.get("evil")), ("a&b c", "", ""));
        assert_eq!(asked.href("", &[]), "?q=a%26b+c&state=wrong&rule=%3Cb%3E");
        assert_eq!(asked.href("/review", &[("state", "right"), ("q", "")]), "/review?rule=%3Cb%3E&state=right");
        assert_eq!(asked.narrowed().collect::<Vec<_>>(), [("q", "a&b c"), ("rule", "<b>")]);
        assert_eq!(Asked::default().href("/review", &[]), "/review");
    }

    #[test]
    fn an_address_is_a_filter() {
        let filter = Asked::new("q=x&state=all&direction=response&score_from=0.5&since=2026-01-31").filter().unwrap();
        let since = filter.since.map(|since| since.timestamp().to_string());
        assert_eq!(since.as_deref(), Some("2026-01-31T00:00:00Z"));
        let wanted = Filter {
            search: Some("x".into()),
            direction: Some(Direction::Response),
            min_score: Some(0.5),
            since: filter.since,
            ..Filter::default()
        };
        assert_eq!(filter, wanted);
        assert_eq!(Asked::default().filter().unwrap().state, Some(State::Open));
        for wrong in ["state=x", "direction=x", "since=x", "score_to=x"] {
            assert!(Asked::new(wrong).filter().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_place_is_carried_in_an_address() {
        let here = Place { at_ms: 7, id: "a-b".into() };
        assert_eq!(place(&format!("q=1&after={}", told(&here)), "after"), Some(here));
        assert_eq!(place("after=x.y", "after"), None);
    }
}

//! The policies that cover one exchange: chosen once, and asked to its end.

use std::{collections::BTreeMap, sync::Arc};

use jiff::civil::Date;

use super::{
    Decision, Exceptions, Explained, Placeholders, Policies, Scanned, Settled,
    compile::{Compiled, Kinds, Policy},
    decide::decide,
    explain::explain,
    expression::CallFacts,
};
use crate::{
    identity::Caller,
    scan::{Ask, Assessed, Evidence},
    segment::Edit,
    wire::json::{Malformed, Patch},
};

/// What policies may ask of an exchange.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// Name of the route; empty where none took it.
    pub route: String,
    /// Name of the upstream.
    pub upstream: String,
    /// The API spoken.
    pub dialect: &'static str,
    /// The model asked for.
    pub model: String,
    /// Other models that the call names, which may answer in its place.
    pub others: Vec<String>,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// The headers that [`Policies::headers`] names or all, as far as the call has them: names in lower case, several values of one
    /// name with `, ` between them.
    pub headers: BTreeMap<String, String>,
    /// Who calls.
    pub caller: Caller,
    /// Language of the last prompt, if it tells: the one that refusals are written in.
    pub language: Option<&'static str>,
    /// A random number, by which rules that ask a share of the exchanges choose them.
    pub draw: u64,
    /// The day (UTC), for exemptions that end.
    pub today: Date,
}

impl Call {
    /// All models that may answer it.
    pub(super) fn models(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.model).chain(&self.others).map(String::as_str)
    }
}

/// The policies that cover an exchange. It holds on to the set that they were chosen from, whatever is in force meanwhile.
#[derive(Debug, Clone)]
pub struct Selected {
    pub(super) set: Arc<Policies>,
    pub(super) call: Arc<Call>,
    /// The call as conditions see it.
    pub(super) facts: Arc<CallFacts>,
    /// Texts that they let pass beside those that their files name.
    pub(super) exceptions: Arc<Exceptions>,
    chosen: Vec<usize>,
    ask: Ask,
}

impl Policies {
    /// The policies that cover a call, without any exceptions.
    #[must_use]
    pub fn select(self: &Arc<Self>, call: Call) -> Selected {
        let covers = |(at, policy): (usize, &Policy)| policy.scope.misfit(&call).is_none().then_some(at);
        let chosen: Vec<usize> = self.policies.iter().enumerate().filter_map(covers).collect();
        let policies = chosen.iter().filter_map(|at| self.policies.get(*at));
        let mut guards: Vec<usize> = policies.flat_map(|policy| policy.guards(call.draw)).collect();
        guards.sort_unstable();
        guards.dedup();
        let (call, ask) = (Arc::new(call), Ask { guards, detectors: Arc::clone(&self.detectors) });
        let facts = Arc::new(CallFacts::new(Arc::clone(&call)));
        Selected { set: Arc::clone(self), call, facts, exceptions: Arc::default(), chosen, ask }
    }
}

impl Selected {
    /// The same policies, which let these texts pass too.
    #[must_use]
    pub fn except(self, exceptions: Arc<Exceptions>) -> Self {
        Self { exceptions, ..self }
    }

    /// The call that they were selected for.
    #[must_use]
    pub fn call(&self) -> &Arc<Call> {
        &self.call
    }

    /// The set that they are of.
    #[must_use]
    pub fn set(&self) -> &Policies {
        &self.set
    }

    /// The set's revision.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.set.revision()
    }

    /// Whether any policy covers the call, whichever of its models answers. One that is asked of some languages only leaves
    /// the rest of the text to others, so it does not count.
    #[must_use]
    pub fn is_covered(&self) -> bool {
        let mut models = self.call.models();
        models.all(|model| self.policies().any(|policy| policy.scope.languages.is_none() && policy.scope.takes(model)))
    }

    /// The names of the policies that cover the call, those for some languages only too.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policies().map(|policy| policy.name.as_str())
    }

    /// What a scan is to be asked: the guards whose scores the rules ask for in this exchange.
    #[must_use]
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// Decides on an assessed body, and makes the edits that the rules ask for; `patches` turns edits of segments into patches
    /// of the body. In an answer, `placeholders`, which stood for values in its request, give way to these once it is judged.
    ///
    /// # Errors
    /// An edit that has no place to go.
    pub fn settle(
        &self,
        assessed: Assessed,
        placeholders: &Placeholders,
        patches: impl FnOnce(&Evidence, &[(usize, Vec<Edit>)]) -> Result<Vec<Patch>, Malformed>,
    ) -> Result<(Settled, Decision, Evidence), Malformed> {
        let (document, evidence) = assessed.into_parts();
        let decision = self.decide(&evidence);
        if let Some(refused) = decision.refusal.clone() {
            return Ok((Settled::Refuse(refused), decision, evidence));
        }
        let edits = placeholders.put_back_in(&evidence.segments, &decision.edits);
        let patches = if edits.is_empty() { Vec::new() } else { patches(&evidence, &edits)? };
        let scanned = Scanned { body: document.splice(patches)?, placeholders: decision.placeholders.clone() };
        Ok((Settled::Forward(scanned), decision, evidence))
    }

    /// The guards, by their places, that rules ask about texts of which the evidence has no word of theirs.
    #[must_use]
    pub fn unasked(&self, evidence: &Evidence) -> Vec<usize> {
        let mut unasked = Vec::new();
        for passage in &evidence.passages {
            let kind = Kinds::of(evidence.direction, passage.target);
            let rules = self
                .policies()
                .filter(|policy| passage.languages().any(|language| policy.scope.speaks(language)))
                .flat_map(|policy| &policy.rules);
            let rules = rules.filter(|rule| rule.kinds.meets(kind) && rule.sample.is_none_or(|own| own.holds(self.call.draw)));
            unasked.extend(rules.flat_map(Compiled::guards).filter(|guard| passage.verdict(*guard).is_none()));
        }
        unasked.sort_unstable();
        unasked.dedup();
        unasked
    }

    /// Decides on evidence: every rule of every policy that covers the call is asked of every passage.
    #[must_use]
    pub fn decide(&self, evidence: &Evidence) -> Decision {
        decide(self, evidence)
    }

    /// Explains what [`Selected::decide`] makes of evidence, policy by policy; those that do not cover the call tell why.
    #[must_use]
    pub fn explain(&self, evidence: &Evidence) -> Vec<Explained> {
        explain(self, evidence)
    }

    /// What a user reads whose text is stopped without a rule's own words.
    #[must_use]
    pub fn blocked(&self) -> &'static str {
        super::built_in(self.call.language)
    }

    pub(super) fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.chosen.iter().filter_map(|at| self.set.policies.get(*at))
    }
}

//! What each field of the API is to a reader: tables, so that a field or block that the API adds is one line here.

/// What a field holds. `null` is nothing in any of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A string that the API keeps to itself (a token, an address); a list or an object in its place is text.
    Unread,
    /// A number, a switch, a word of the API's own (an id, a type, a level) or a list of such. No text, but a string that is
    /// more than one short word is.
    Word,
    /// The same, however they are nested.
    Words,
    /// Ciphertext of the API's own: no text while it looks like that.
    Sealed,
    /// A string of text.
    Text,
    /// Text throughout, names of fields too.
    Any,
    /// A JSON schema.
    Schema,
    /// An error.
    Error,
    /// A string or a list of blocks.
    Blocks,
    /// What a tool of the server answered: results within results, in shapes of their own.
    Result,
    /// What a document is made from.
    Source,
    /// Skills, each a folder of instructions; only those of the API's own are known.
    Skills,
    /// An object of these fields, or a list of such.
    Object(&'static [Field]),
    /// The same, but no part of the text at which it stands: it is read by itself.
    Apart(&'static [Field]),
    /// An object of these fields, or a string that stands for the first of them.
    Either(&'static [Field]),
}

/// A field's name and what it holds.
pub(super) type Field = (&'static str, Kind);

/// A type of content block.
#[derive(Debug)]
pub(super) struct Shape {
    /// The block's `type`.
    pub(super) name: &'static str,
    pub(super) voice: Voice,
    pub(super) fields: &'static [Field],
}

/// Whose words a block holds, and so what it is read together with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// Those of the message: all its blocks are read as one text.
    Own,
    /// The model's thoughts.
    Thought,
    /// A call of a tool.
    Call,
    /// A tool's answer.
    Result,
    /// Definitions of tools.
    Definition,
    /// None that a text guard can judge.
    File,
}

/// What the named field holds; each object has its `type`.
pub(super) fn kind(fields: &[Field], key: &str) -> Option<Kind> {
    let found = fields.iter().find(|(name, _)| *name == key).map(|(_, kind)| *kind);
    found.or_else(|| (key == "type").then_some(Kind::Word))
}

/// The names of the fields.
pub(super) fn keys(fields: &[Field]) -> Vec<&'static str> {
    fields.iter().map(|(name, _)| *name).chain(["type"]).collect()
}

/// The shape of the blocks of a type.
pub(super) fn shape(name: &str) -> Option<&'static Shape> {
    let result = || name.ends_with("_tool_result").then_some(SERVER_RESULT);
    BLOCKS.iter().find(|shape| shape.name == name).or_else(result)
}

/// The request's settings, and text that is not in its messages.
pub(super) const BODY: &[Field] = &[
    ("model", Kind::Unread),
    ("stream", Kind::Word),
    ("messages", Kind::Any),
    ("max_tokens", Kind::Word),
    ("temperature", Kind::Word),
    ("top_p", Kind::Word),
    ("top_k", Kind::Word),
    ("system", Kind::Blocks),
    ("stop_sequences", Kind::Any),
    ("metadata", Kind::Object(&[("user_id", Kind::Unread)])),
    ("tool_choice", Kind::Object(&[("name", Kind::Word), ("disable_parallel_tool_use", Kind::Word)])),
    ("thinking", Kind::Object(THINKING)),
    ("container", Kind::Either(&[("id", Kind::Word), ("skills", Kind::Skills)])),
    ("context_management", Kind::Object(&[("edits", Kind::Object(CONTEXT_EDIT))])),
    ("compaction", Kind::Object(&[("instructions", Kind::Text)])),
    ("service_tier", Kind::Word),
    ("inference_geo", Kind::Word),
    ("speed", Kind::Word),
    CACHE,
    ("diagnostics", Kind::Object(PREVIOUS)),
    ("thread", Kind::Object(PREVIOUS)),
    ("fallbacks", Kind::Either(FALLBACK)),
    ("fallback_credit_token", Kind::Either(&[("token", Kind::Unread), ("mode", Kind::Word)])),
    ("billing_policy", Kind::Object(&[("bill_to", Kind::Word)])),
    ("user_profile_id", Kind::Word),
    // Gateways carry these, which are headers otherwise, in the body.
    ("betas", Kind::Word),
    ("anthropic_beta", Kind::Word),
    ("anthropic_version", Kind::Word),
];

/// What the request says of tools and of the form of the answer; each item of a list stands alone.
pub(super) const DEFINITIONS: &[Field] = &[
    ("tools", Kind::Object(TOOL)),
    ("mcp_servers", Kind::Object(MCP_SERVER)),
    ("output_config", Kind::Object(OUTPUT)),
    ("output_format", Kind::Object(FORMAT)),
];

/// A message of a request.
pub(super) const MESSAGE: &[Field] =
    &[("role", Kind::Word), ("content", Kind::Blocks), ("clear_at", Kind::Word), ("output_config", Kind::Object(OUTPUT))];

/// A whole answer, or an error.
pub(super) const ANSWER: &[Field] = &[
    ("id", Kind::Word),
    ("role", Kind::Word),
    ("model", Kind::Unread),
    ("content", Kind::Blocks),
    ("stop_reason", Kind::Word),
    ("stop_sequence", Kind::Text),
    ("stop_details", Kind::Object(STOP_DETAILS)),
    ("usage", Kind::Words),
    ("container", Kind::Words),
    ("context_management", Kind::Words),
    ("diagnostics", Kind::Words),
    ("input_transformations", Kind::Words),
    ("request_id", Kind::Word),
    ("error", Kind::Error),
];

/// An event of a stream; what it says of a message or a block is read by their own tables.
pub(super) const EVENT: &[Field] = &[
    ("index", Kind::Word),
    ("message", Kind::Any),
    ("content_block", Kind::Any),
    ("delta", Kind::Object(MESSAGE_DELTA)),
    ("usage", Kind::Words),
    ("context_management", Kind::Words),
    ("input_transformations", Kind::Words),
    ("request_id", Kind::Word),
    ("error", Kind::Error),
];

const MESSAGE_DELTA: &[Field] = &[
    ("stop_reason", Kind::Word),
    ("stop_sequence", Kind::Text),
    ("stop_details", Kind::Object(STOP_DETAILS)),
    ("container", Kind::Words),
];

/// What is added to a block, by the delta's type.
pub(super) const DELTAS: &[(&str, &[Field])] = &[
    ("text_delta", &[("text", Kind::Text)]),
    ("thinking_delta", &[("thinking", Kind::Text), ("estimated_tokens", Kind::Word)]),
    ("input_json_delta", &[("partial_json", Kind::Text)]),
    ("citations_delta", &[("citation", Kind::Object(CITATION))]),
    ("signature_delta", &[("signature", Kind::Sealed)]),
    ("compaction_delta", &[("content", Kind::Text), ("encrypted_content", Kind::Sealed)]),
];

const BLOCKS: &[Shape] = &[
    Shape { name: "text", voice: Voice::Own, fields: TEXT },
    Shape { name: "image", voice: Voice::File, fields: IMAGE },
    Shape { name: "document", voice: Voice::Own, fields: DOCUMENT },
    Shape { name: "search_result", voice: Voice::Own, fields: SEARCH_RESULT },
    Shape { name: "thinking", voice: Voice::Thought, fields: &[("thinking", Kind::Text), SIGNATURE] },
    Shape { name: "redacted_thinking", voice: Voice::Thought, fields: &[("data", Kind::Sealed)] },
    Shape { name: "tool_use", voice: Voice::Call, fields: CALL },
    Shape { name: "server_tool_use", voice: Voice::Call, fields: CALL },
    Shape { name: "mcp_tool_use", voice: Voice::Call, fields: CALL },
    Shape { name: "tool_result", voice: Voice::Result, fields: TOOL_RESULT },
    Shape { name: "tool_reference", voice: Voice::Own, fields: &[("tool_name", Kind::Text), CACHE] },
    Shape { name: "browser_state", voice: Voice::Own, fields: &[("tabs", Kind::Any), ("state_changes", Kind::Any), CACHE] },
    Shape { name: "compaction", voice: Voice::Own, fields: COMPACTION },
    Shape { name: "tool_addition", voice: Voice::Definition, fields: TOOL_CHANGE },
    Shape { name: "tool_removal", voice: Voice::Definition, fields: TOOL_CHANGE },
    Shape { name: "mcp_tool_listing", voice: Voice::Definition, fields: LISTING },
    Shape { name: "fallback", voice: Voice::Own, fields: FALLEN_BACK },
    Shape { name: "container_upload", voice: Voice::File, fields: &[FILE, CACHE] },
    // Files that a server's code made, within its result.
    Shape { name: "code_execution_output", voice: Voice::File, fields: &[FILE] },
    Shape { name: "bash_code_execution_output", voice: Voice::File, fields: &[FILE] },
];

/// What a tool of the server answered, whichever it is: `web_search_tool_result`, `mcp_tool_result` and so on.
const SERVER_RESULT: &Shape = &Shape {
    name: "tool result",
    voice: Voice::Result,
    fields: &[("tool_use_id", Kind::Word), ("content", Kind::Result), ("is_error", Kind::Word), CALLER, CACHE],
};

/// The fields of what stands within such an answer.
pub(super) const RESULT: &[Field] = &[
    ("content", Kind::Result),
    ("tool_references", Kind::Result),
    ("text", Kind::Text),
    ("title", Kind::Text),
    ("url", Kind::Text),
    ("page_age", Kind::Text),
    ("retrieved_at", Kind::Word),
    ("stdout", Kind::Text),
    ("stderr", Kind::Text),
    ("encrypted_stdout", Kind::Sealed),
    ("encrypted_content", Kind::Sealed),
    ("return_code", Kind::Word),
    ("stop_reason", Kind::Word),
    ("file_type", Kind::Word),
    ("error_code", Kind::Word),
    ("error_message", Kind::Text),
    ("citations", Kind::Apart(CITATION)),
];

/// A document's source that is text.
pub(super) const TEXT_SOURCE: &[Field] = &[
    ("media_type", Kind::Word),
    ("data", Kind::Text),
    ("content", Kind::Blocks),
    ("url", Kind::Text),
    ("file_id", Kind::Word),
];

/// A source that is bytes, or says where to find them.
pub(super) const BYTES_SOURCE: &[Field] = &[
    ("media_type", Kind::Word),
    ("data", Kind::Unread),
    ("url", Kind::Unread),
    ("file_id", Kind::Word),
    ("content", Kind::Blocks),
];

const CACHE: Field = ("cache_control", Kind::Object(&[("ttl", Kind::Word)]));
const CALLER: Field = ("caller", Kind::Object(&[("tool_id", Kind::Word)]));
const FILE: Field = ("file_id", Kind::Word);
const SIGNATURE: Field = ("signature", Kind::Sealed);

const TEXT: &[Field] = &[("text", Kind::Text), ("citations", Kind::Apart(CITATION)), CACHE];
const IMAGE: &[Field] = &[("source", Kind::Object(BYTES_SOURCE)), ("transformations", Kind::Words), CACHE];
const DOCUMENT: &[Field] =
    &[("source", Kind::Source), ("title", Kind::Text), ("context", Kind::Text), ("citations", Kind::Apart(CITATION)), CACHE];
const SEARCH_RESULT: &[Field] =
    &[("source", Kind::Text), ("title", Kind::Text), ("content", Kind::Blocks), ("citations", Kind::Apart(CITATION)), CACHE];
const CALL: &[Field] = &[
    ("id", Kind::Word),
    ("name", Kind::Text),
    ("input", Kind::Any),
    ("server_name", Kind::Text),
    ("toolset_name", Kind::Text),
    CALLER,
    CACHE,
];
const TOOL_RESULT: &[Field] =
    &[("tool_use_id", Kind::Word), ("content", Kind::Blocks), ("is_error", Kind::Word), ("toolset_name", Kind::Text), CACHE];
const COMPACTION: &[Field] =
    &[("content", Kind::Text), ("encrypted_content", Kind::Sealed), SIGNATURE, ("tool_changes", Kind::Blocks), CACHE];
const TOOL_CHANGE: &[Field] = &[("tool", Kind::Object(CHANGED)), CACHE];
const CHANGED: &[Field] = &[("name", Kind::Text), ("server_name", Kind::Text), ("definition", Kind::Object(TOOL))];
const LISTING: &[Field] = &[("mcp_server_name", Kind::Text), ("tools", Kind::Object(TOOL))];
const FALLEN_BACK: &[Field] = &[
    ("from", Kind::Object(&[("model", Kind::Unread)])),
    ("to", Kind::Object(&[("model", Kind::Unread)])),
    ("trigger", Kind::Object(&[("category", Kind::Word)])),
];

/// A citation, or (`enabled`) whether to make some.
const CITATION: &[Field] = &[
    ("cited_text", Kind::Text),
    ("document_title", Kind::Text),
    ("title", Kind::Text),
    ("url", Kind::Text),
    ("source", Kind::Text),
    FILE,
    ("encrypted_index", Kind::Sealed),
    ("enabled", Kind::Word),
];

/// A tool of the client's or the server's; what is not named here is read as well.
const TOOL: &[Field] = &[
    ("name", Kind::Text),
    ("description", Kind::Text),
    ("input_schema", Kind::Schema),
    ("input_examples", Kind::Any),
    ("strict", Kind::Word),
    ("defer_loading", Kind::Word),
    ("eager_input_streaming", Kind::Word),
    ("allowed_callers", Kind::Word),
    ("allowed_domains", Kind::Any),
    ("blocked_domains", Kind::Any),
    ("user_location", Kind::Object(LOCATION)),
    ("citations", Kind::Object(CITATION)),
    ("response_inclusion", Kind::Word),
    ("max_uses", Kind::Word),
    ("max_tokens", Kind::Word),
    ("max_content_tokens", Kind::Word),
    ("max_characters", Kind::Word),
    ("display_width_px", Kind::Word),
    ("display_height_px", Kind::Word),
    ("display_number", Kind::Word),
    ("enable_zoom", Kind::Word),
    ("model", Kind::Unread),
    ("caching", Kind::Object(&[("ttl", Kind::Word)])),
    ("mcp_server_name", Kind::Text),
    CACHE,
];
const LOCATION: &[Field] = &[("city", Kind::Text), ("region", Kind::Text), ("country", Kind::Text), ("timezone", Kind::Word)];
/// The server's address and token are for the API alone; the model sees its name.
const MCP_SERVER: &[Field] = &[
    ("name", Kind::Text),
    ("url", Kind::Unread),
    ("authorization_token", Kind::Unread),
    ("tool_configuration", Kind::Object(&[("enabled", Kind::Word), ("allowed_tools", Kind::Word)])),
];
const OUTPUT: &[Field] = &[("effort", Kind::Word), ("format", Kind::Object(FORMAT)), ("task_budget", Kind::Object(BUDGET))];
const FORMAT: &[Field] = &[("schema", Kind::Schema)];
const BUDGET: &[Field] = &[("total", Kind::Word), ("remaining", Kind::Word)];
const THINKING: &[Field] = &[
    ("budget_tokens", Kind::Word),
    ("display", Kind::Word),
    ("block_binding", Kind::Object(&[("prefix_mismatch_behavior", Kind::Word)])),
];
pub(super) const SKILL: &[Field] = &[("skill_id", Kind::Word), ("version", Kind::Word)];
const CONTEXT_EDIT: &[Field] = &[
    ("instructions", Kind::Text),
    ("pause_after_compaction", Kind::Word),
    ("trigger", Kind::Object(AMOUNT)),
    ("keep", Kind::Either(AMOUNT)),
    ("clear_at_least", Kind::Object(AMOUNT)),
    ("clear_tool_inputs", Kind::Word),
    ("exclude_tools", Kind::Word),
];
const AMOUNT: &[Field] = &[("type", Kind::Word), ("value", Kind::Word)];
const PREVIOUS: &[Field] = &[("previous_message_id", Kind::Word)];
const FALLBACK: &[Field] = &[
    ("model", Kind::Unread),
    ("max_tokens", Kind::Word),
    ("output_config", Kind::Object(OUTPUT)),
    ("speed", Kind::Word),
    ("thinking", Kind::Object(THINKING)),
];
const STOP_DETAILS: &[Field] = &[
    ("category", Kind::Word),
    ("explanation", Kind::Text),
    ("recommended_model", Kind::Unread),
    ("fallback_credit_token", Kind::Unread),
    ("fallback_has_prefill_claim", Kind::Word),
];

//! Which form an answer takes: the Accept header against what the server can make, in upstream's two steps (the route's
//! representations, then encoding and transformation), and how a body arrived.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use meta::Status;
use meta::status::Details;
use registry::Query;

/// How the bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Json,
    Yaml,
    Protobuf,
}

/// What is made of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Whole,
    Table { version: MetaVersion },
    Partial { version: MetaVersion },
    PartialList { version: MetaVersion },
}

/// Version of `meta.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaVersion {
    V1,
    V1Beta1,
}

/// Everything about the form of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub encoding: Encoding,
    pub shape: Shape,
    pub pretty: bool,
    pub gzip: bool,
}

/// What a route can represent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// JSON, YAML, protobuf.
    Object,
    /// The same, and streams of events.
    Collection,
    /// JSON alone.
    JsonOnly,
    /// A log.
    Log,
    /// Whatever comes back through a tunnel.
    Anything,
}

impl MetaVersion {
    pub(crate) fn api_version(self) -> &'static str {
        match self {
            MetaVersion::V1 => "meta.k8s.io/v1",
            MetaVersion::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

impl Encoding {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// Of an event stream.
    pub(crate) fn stream_content_type(self) -> &'static str {
        match self {
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => "application/json",
        }
    }
}

const OBJECT: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

impl Offer {
    fn representations(self) -> &'static [&'static str] {
        match self {
            Offer::Object => &OBJECT,
            Offer::Collection => &[
                "application/json",
                "application/yaml",
                "application/vnd.kubernetes.protobuf",
                "application/json;stream=watch",
                "application/vnd.kubernetes.protobuf;stream=watch",
            ],
            Offer::Anything => &["*/*"],
            Offer::JsonOnly => &["application/json"],
            Offer::Log => {
                &["text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]
            }
        }
    }

    /// The router's test: some type that is accepted, parameters and quality aside, is offered.
    ///
    /// # Errors
    /// 406 naming what there is.
    pub(crate) fn check(self, headers: &HeaderMap) -> Result<(), Status> {
        let accept = header(headers, &ACCEPT);
        let offered = self.representations();
        let fits = |part: &str| {
            let media = part.split(';').next().unwrap_or_default().trim();
            media == "*/*" || offered.contains(&media)
        };
        if self == Offer::Anything || accept.is_empty() || accept.split(',').any(fits) {
            Ok(())
        } else {
            Err(no_representation(offered))
        }
    }
}

/// 406 as the router says it.
pub(crate) fn no_representation(offered: &[&str]) -> Status {
    let message = format!("406: Not Acceptable\n\nAvailable representations: {}", offered.join(", "));
    Status::new(406, "NotAcceptable", message, Some(Details::default()))
}

/// 415 as the router says it.
pub(crate) fn unknown_patch_type() -> Status {
    Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type", Some(Details::default()))
}

impl Form {
    /// Negotiates an object's answer: encoding and transformation.
    ///
    /// # Errors
    /// 406 when nothing that is accepted can be made.
    pub(crate) fn of_object(headers: &HeaderMap, query: &Query) -> Result<Form, Status> {
        let clauses = clauses(header(headers, &ACCEPT));
        let found = clauses.iter().find_map(|c| c.object_form());
        let (encoding, shape, pretty) = match found {
            Some(found) => found,
            None if clauses.is_empty() => (Encoding::Json, Shape::Whole, false),
            None => return Err(cannot_make()),
        };
        Ok(Form { encoding, shape, pretty: pretty || wants_pretty(headers, query), gzip: wants_gzip(headers) })
    }

    /// Negotiates an event stream: JSON or protobuf.
    ///
    /// # Errors
    /// 406 when nothing that is accepted can be streamed.
    pub(crate) fn of_stream(headers: &HeaderMap, query: &Query) -> Result<Form, Status> {
        let form = Form::of_object(headers, query)?;
        if form.encoding == Encoding::Yaml {
            Err(Status::not_acceptable(format!(
                "only the following media types are accepted: application/json;stream=watch, {}",
                Encoding::Protobuf.stream_content_type()
            )))
        } else {
            Ok(Form { gzip: false, pretty: false, ..form })
        }
    }

    /// Negotiates an error's answer: no transformation; `None` when nothing fits and plain JSON is sent anyway.
    pub(crate) fn of_error(headers: &HeaderMap, query: &Query) -> Form {
        let clauses = clauses(header(headers, &ACCEPT));
        let found = clauses.iter().filter(|c| c.transformation().is_none()).find_map(|c| c.object_form());
        let (encoding, _, pretty) = found.unwrap_or((Encoding::Json, Shape::Whole, false));
        Form {
            encoding,
            shape: Shape::Whole,
            pretty: pretty || wants_pretty(headers, query),
            gzip: wants_gzip(headers),
        }
    }
}

/// 406 as the handlers say it.
pub(crate) fn cannot_make() -> Status {
    Status::not_acceptable(format!("only the following media types are accepted: {}", OBJECT.join(", ")))
}

/// How a request's body is written.
///
/// # Errors
/// 415 for what the server cannot read.
pub(crate) fn body_encoding(headers: &HeaderMap) -> Result<Encoding, Status> {
    match media_type(headers).to_ascii_lowercase().as_str() {
        "" | "application/json" => Ok(Encoding::Json),
        "application/yaml" => Ok(Encoding::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Encoding::Protobuf),
        _ => Err(unknown_format(&OBJECT)),
    }
}

/// 415 as the handlers say it.
pub(crate) fn unknown_format(accepted: &[&str]) -> Status {
    Status::unsupported_media_type(format!(
        "the body of the request was in an unknown format - accepted media types include: {}",
        accepted.join(", ")
    ))
}

/// The media type of a body, without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    header(headers, &CONTENT_TYPE).split(';').next().unwrap_or_default().trim()
}

/// The first value of a header as text, "" when missing or not text.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

fn wants_pretty(headers: &HeaderMap, query: &Query) -> bool {
    match query.get("pretty").filter(|v| !v.is_empty()) {
        Some(value) => matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"),
        None => ["curl", "Wget", "Mozilla/5.0"].iter().any(|agent| header(headers, &USER_AGENT).starts_with(agent)),
    }
}

/// Only the bare token counts, as upstream reads it.
fn wants_gzip(headers: &HeaderMap) -> bool {
    header(headers, &ACCEPT_ENCODING).split(',').any(|token| token.trim() == "gzip")
}

/// Whether the client would take this aggregated discovery rather than the legacy form.
pub(crate) enum DiscoveryForm {
    Legacy,
    Aggregated,
}

/// Negotiates `/api` and `/apis`.
///
/// # Errors
/// 406 when only forms are accepted that are not made (v2beta1 among them).
pub(crate) fn discovery(headers: &HeaderMap) -> Result<DiscoveryForm, Status> {
    let clauses = clauses(header(headers, &ACCEPT));
    for clause in &clauses {
        let kind = (clause.param("g"), clause.param("v"), clause.param("as"));
        if clause.matches("application", "json") && kind == ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList") {
            return Ok(DiscoveryForm::Aggregated);
        }
        if matches!(clause.object_form(), Some((_, Shape::Whole, _))) {
            return Ok(DiscoveryForm::Legacy);
        }
    }
    if clauses.is_empty() { Ok(DiscoveryForm::Legacy) } else { Err(cannot_make()) }
}

/// The form of `/flagz` and `/statusz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ZPage {
    Text,
    Object { encoding: Encoding, version: &'static str },
}

/// Negotiates them: text, or an object of this kind that is asked for with its version.
///
/// # Errors
/// 406 when nothing that is accepted can be made.
pub(crate) fn zpage(headers: &HeaderMap, kind: &str) -> Result<ZPage, Status> {
    let accept = header(headers, &ACCEPT);
    let form = |clause: &Clause<'_>| {
        let encodings = [("json", Encoding::Json), ("yaml", Encoding::Yaml)];
        let encoding = encodings.into_iter().find(|(sub, _)| clause.matches("application", sub)).map(|(_, e)| e);
        let version = ["v1alpha1", "v1beta1"].into_iter().find(|v| *v == clause.param("v"));
        match (encoding, version, clause.transformation()) {
            (Some(encoding), Some(version), Some((wanted, "config.k8s.io", _))) if wanted == kind => {
                Some(ZPage::Object { encoding, version })
            }
            (_, _, None) if clause.matches("text", "plain") => Some(ZPage::Text),
            _ => None,
        }
    };
    if accept.trim().is_empty() {
        return Ok(ZPage::Text);
    }
    clauses(accept).iter().find_map(form).ok_or_else(|| {
        Status::not_acceptable(
            "only the following media types are accepted: application/json, application/yaml, text/plain",
        )
    })
}

/// Whether the text of metrics may hold any UTF-8 in names, as the client puts it.
pub(crate) fn metrics_escaping(headers: &HeaderMap) -> &'static str {
    let clauses = clauses(header(headers, &ACCEPT));
    let text = clauses.iter().find(|c| c.kind == "text" && c.subkind == "plain");
    match text.map(|c| c.param("escaping")).unwrap_or_default() {
        "allow-utf-8" => "allow-utf-8",
        "dots" => "dots",
        "values" => "values",
        _ => "underscores",
    }
}

/// Whether the body may be compressed, in the way that the library of metrics reads it.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let tokens = header(headers, &ACCEPT_ENCODING).split(',');
    tokens.map(|t| t.split(';').next().unwrap_or_default().trim()).any(|t| t == "gzip")
}

/// One entry of an Accept header.
struct Clause<'a> {
    kind: &'a str,
    subkind: &'a str,
    quality: f32,
    params: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    fn param(&self, name: &str) -> &'a str {
        self.params.iter().find(|(n, _)| *n == name).map(|(_, v)| *v).unwrap_or_default()
    }

    fn matches(&self, kind: &str, subkind: &str) -> bool {
        (self.kind == kind || self.kind == "*") && (self.subkind == subkind || self.subkind == "*")
    }

    fn object_form(&self) -> Option<(Encoding, Shape, bool)> {
        let encodings =
            [("json", Encoding::Json), ("yaml", Encoding::Yaml), ("vnd.kubernetes.protobuf", Encoding::Protobuf)];
        let (_, encoding) = encodings.into_iter().find(|(sub, _)| self.matches("application", sub))?;
        if !matches!(self.param("stream"), "" | "watch") {
            return None;
        }
        let shape = match self.transformation() {
            None => Shape::Whole,
            Some(wanted) => {
                shape(wanted).filter(|s| encoding != Encoding::Protobuf || !matches!(s, Shape::Table { .. }))?
            }
        };
        Some((encoding, shape, self.param("pretty") == "1"))
    }

    /// Kind, group and version that `as`, `g` and `v` ask for.
    fn transformation(&self) -> Option<(&'a str, &'a str, &'a str)> {
        let wanted = (self.param("as"), self.param("g"), self.param("v"));
        (wanted != ("", "", "")).then_some(wanted)
    }
}

fn shape((kind, group, version): (&str, &str, &str)) -> Option<Shape> {
    let version = match (group, version) {
        ("meta.k8s.io", "v1") => MetaVersion::V1,
        ("meta.k8s.io", "v1beta1") => MetaVersion::V1Beta1,
        _ => return None,
    };
    match kind {
        "Table" => Some(Shape::Table { version }),
        "PartialObjectMetadata" => Some(Shape::Partial { version }),
        "PartialObjectMetadataList" => Some(Shape::PartialList { version }),
        _ => None,
    }
}

/// By falling quality, then the more specific first, then as written.
fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut all: Vec<Clause<'_>> = accept.split(',').filter_map(clause).collect();
    let rank = |c: &Clause<'_>| (c.kind == "*", c.subkind == "*");
    all.sort_by(|a, b| b.quality.total_cmp(&a.quality).then_with(|| rank(a).cmp(&rank(b))));
    all
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let (kind, subkind) = match media.split_once('/') {
        Some((kind, subkind)) if !subkind.contains('/') => (kind.trim(), subkind.trim()),
        None if media == "*" => ("*", "*"),
        _ => return None,
    };
    let mut clause = Clause { kind, subkind, quality: 1.0, params: Vec::new() };
    for (name, value) in parts.filter_map(|p| p.split_once('=')) {
        match name.trim() {
            "q" => clause.quality = value.trim().parse().unwrap_or(1.0),
            name => clause.params.push((name, value.trim())),
        }
    }
    Some(clause)
}

#[cfg(test)]
mod zpage_tests {
    use super::*;

    #[test]
    fn a_zpage_is_text_unless_its_object_is_asked_for() {
        let check = |accept: &str, want: Option<ZPage>| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(zpage(&headers, "Statusz").ok(), want, "{accept}");
        };
        let object = |encoding, version| Some(ZPage::Object { encoding, version });
        check("", Some(ZPage::Text));
        check("*/*", Some(ZPage::Text));
        check("text/plain", Some(ZPage::Text));
        check("application/json", None);
        check("application/json;as=Statusz;v=v1beta1;g=config.k8s.io", object(Encoding::Json, "v1beta1"));
        check("application/yaml;as=Statusz;v=v1alpha1;g=config.k8s.io", object(Encoding::Yaml, "v1alpha1"));
        check("application/json;as=Flagz;v=v1beta1;g=config.k8s.io", None);
        check("application/json;as=Statusz;v=v1;g=config.k8s.io,text/plain;q=0.5", Some(ZPage::Text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())])
    }

    fn check(accept: &str, want: Option<(Encoding, Shape)>) {
        let form =
            Offer::Object.check(&headers(accept)).and_then(|()| Form::of_object(&headers(accept), &Query::default()));
        assert_eq!(form.ok().map(|f| (f.encoding, f.shape)), want, "{accept}");
    }

    #[test]
    fn the_best_form_that_can_be_made_is_taken() {
        let table = Shape::Table { version: MetaVersion::V1 };
        check("", Some((Encoding::Json, Shape::Whole)));
        check("*/*", Some((Encoding::Json, Shape::Whole)));
        check("application/yaml;q=0.1, application/json;q=0.9", Some((Encoding::Json, Shape::Whole)));
        check("application/json;charset=utf-8", Some((Encoding::Json, Shape::Whole)));
        check("application/vnd.kubernetes.protobuf,application/json", Some((Encoding::Protobuf, Shape::Whole)));
        check(
            "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json",
            Some((Encoding::Json, Shape::Whole)),
        );
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Some((Encoding::Json, table)));
        check("application/json;as=Nonsense;g=meta.k8s.io;v=v1", None);
        check("text/html, application/*;q=0.5", None);
        check("text/plain", None);
    }

    #[test]
    fn only_the_bare_token_asks_for_gzip() {
        for (text, want) in [("gzip", true), ("br, gzip", true), ("gzip;q=0.5", false), ("", false)] {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, text.parse().unwrap())]);
            assert_eq!(wants_gzip(&headers), want, "{text}");
        }
    }
}

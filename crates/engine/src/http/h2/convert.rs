//! Heads between our form and the `http` crate's, which `h2` speaks.

use crate::error::Error;
use crate::http::fields::{Fields, is_field_value};
use crate::http::h1::parse::HeadError;
use crate::http::head::{RequestHead, ResponseHead, Scheme, Version};
use crate::http::name::Name;
use crate::http::target::{self, TargetError};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};

/// A request as a caller sent it.
pub fn request_in(parts: &http::request::Parts, fields_max: usize) -> Result<RequestHead, Error> {
    if parts.headers.len() > fields_max {
        return Err(HeadError::TooManyFields.into());
    }
    if parts.method == Method::CONNECT && parts.uri.authority().is_none() {
        return Err(HeadError::Syntax.into());
    }
    // RFC 9113 §8.2.1: white space around a value makes the message malformed.
    if parts.headers.values().any(|value| value.as_bytes().trim_ascii().len() != value.len()) {
        return Err(HeadError::Syntax.into());
    }
    let mut fields = fields_in(&parts.headers);
    let path_and_query = parts.uri.path_and_query().map_or("/", |both| both.as_str());
    let target = match path_and_query {
        "*" if parts.method != Method::OPTIONS => return Err(TargetError::Form.into()),
        raw => target::split(raw.as_bytes())?,
    };
    let path = match target.path {
        b"*" => fields.store(b"*"),
        path => fields.store(&target::normalise(path)?),
    };
    let query = target.query.map(|query| fields.store(query));
    let authority = authority(&mut fields, parts.uri.authority().map(|authority| authority.as_str()))?;
    let authority = fields.store(authority.as_bytes());
    Ok(RequestHead { method: parts.method.clone(), path, query, authority, version: Version::Http2, fields })
}

/// `:authority` and `Host` must agree (RFC 9113 §8.3.1).
fn authority(fields: &mut Fields, pseudo: Option<&str>) -> Result<String, Error> {
    let hosts: Vec<&[u8]> = fields.all(Name::Host).collect();
    let host = match hosts.as_slice() {
        [] => None,
        [one] => Some(*one),
        _ => return Err(HeadError::Host.into()),
    };
    let chosen = match (pseudo, host) {
        (Some(pseudo), Some(host)) if !host.eq_ignore_ascii_case(pseudo.as_bytes()) => {
            return Err(HeadError::HostMismatch.into());
        }
        (Some(pseudo), _) => pseudo.as_bytes(),
        (None, Some(host)) => host,
        (None, None) => return Err(HeadError::Host.into()),
    };
    target::check_authority(chosen)?;
    let lower = String::from_utf8_lossy(chosen).to_ascii_lowercase();
    fields.remove_known(Name::Host);
    Ok(lower)
}

/// Fields as they came; crumbs of a cookie are put together again (RFC 9113 §8.2.3).
pub fn fields_in(headers: &HeaderMap) -> Fields {
    let bytes = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    let mut fields = Fields::with_capacity(bytes + 512, headers.len() + 8);
    let mut cookie: Vec<u8> = Vec::new();
    for (name, value) in headers {
        if name == http::header::COOKIE {
            if !cookie.is_empty() {
                cookie.extend_from_slice(b"; ");
            }
            cookie.extend_from_slice(value.as_bytes());
        } else {
            fields.push(name.as_str().as_bytes(), value.as_bytes().trim_ascii());
        }
    }
    if !cookie.is_empty() {
        fields.push_known(Name::Cookie, &cookie);
    }
    fields
}

/// Fields for the wire: lower-case names, nothing of one hop but `te: trailers`.
pub fn fields_out(fields: &Fields) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(fields.len() + 2);
    for field in fields.iter() {
        if field.known.is_hop_by_hop() && field.known != Name::Te || !is_field_value(field.value) {
            continue;
        }
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(field.name), HeaderValue::from_bytes(field.value))
        {
            headers.append(name, value);
        }
    }
    headers
}

/// A request for an upstream.
pub fn request_out(
    head: &RequestHead,
    scheme: Scheme,
    host: &[u8],
    length: Option<u64>,
) -> Result<Request<()>, Error> {
    let mut target = head.path().to_vec();
    if let Some(query) = head.query() {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    let uri = Uri::builder().scheme(scheme.text()).authority(host).path_and_query(target.as_slice());
    let uri = uri.build().map_err(|_| Error::from(TargetError::Byte))?;
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = fields_out(&head.fields);
    if let Some(length) = length {
        request.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
    Ok(request)
}

/// An answer of an upstream.
pub fn response_in(parts: &http::response::Parts, fields_max: usize) -> Result<ResponseHead, Error> {
    if parts.headers.len() > fields_max {
        return Err(Error::BadAnswer(HeadError::TooManyFields));
    }
    Ok(ResponseHead { status: parts.status.as_u16(), fields: fields_in(&parts.headers) })
}

/// An answer for a caller.
pub fn response_out(head: &ResponseHead, length: Option<u64>) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(head.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
    *response.version_mut() = http::Version::HTTP_2;
    *response.headers_mut() = fields_out(&head.fields);
    if let Some(length) = length {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
    response
}

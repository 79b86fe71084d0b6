//! Listening, and the way from a request to its handler.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::body::Reply;
use crate::error::S3Error;
use crate::request::Target;
use crate::server::Server;
use crate::stats::Op;
use crate::xml::Xml;
use crate::{lists, multipart, read, receive, write};

/// Serves until the process is interrupted or terminated.
pub(crate) async fn serve(server: Arc<Server>, listen: SocketAddr) -> Result<(), String> {
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|e| format!("listen {listen}: {e}"))?;
    let address = listener
        .local_addr()
        .map_err(|e| format!("listen {listen}: {e}"))?;
    writeln!(std::io::stdout(), "listening on http://{address}")
        .map_err(|e| format!("standard output: {e}"))?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|e| format!("signal handler: {e}"))?;
    tokio::select! {
        () = accept(server, listener) => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn accept(server: Arc<Server>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: let some connections end.
            tokio::task::yield_now().await;
            continue;
        };
        // Without it replies of two writes wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&server), request));
            // A client that goes away is its own affair.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    let (parts, body) = request.into_parts();
    let reply = if parts.uri.path().starts_with("/_bench/") {
        control(&server, &parts)
    } else {
        handle(&server, &parts, body).await
    };
    Ok(reply.unwrap_or_else(|error| {
        server.stats.error();
        refuse(&parts, &error)
    }))
}

fn refuse(request: &request::Parts, error: &S3Error) -> Response<Reply> {
    let bodiless = request.method == Method::HEAD || error.status == StatusCode::NOT_MODIFIED;
    let mut reply = if bodiless {
        Response::new(Reply::empty())
    } else {
        let mut xml = Xml::error();
        xml.leaf("Code", error.code);
        xml.leaf("Message", &error.message);
        xml.leaf("Resource", request.uri.path());
        document(xml.finish("Error"))
    };
    *reply.status_mut() = error.status;
    reply
}

fn document(xml: String) -> Response<Reply> {
    let mut reply = Response::new(Reply::Text(xml.into()));
    let kind = HeaderValue::from_static("application/xml");
    reply.headers_mut().insert(header::CONTENT_TYPE, kind);
    reply
}

fn status(code: StatusCode) -> Response<Reply> {
    let mut reply = Response::new(Reply::empty());
    *reply.status_mut() = code;
    reply
}

fn control(server: &Server, request: &request::Parts) -> Result<Response<Reply>, S3Error> {
    match (&request.method, request.uri.path()) {
        (&Method::GET, "/_bench/stats") => Ok(Response::new(Reply::Text(
            server.stats_json().to_string().into(),
        ))),
        (&Method::POST, "/_bench/reset") => {
            server.reset();
            Ok(status(StatusCode::NO_CONTENT))
        }
        (method, path) => Err(S3Error::not_implemented(format!("{method} {path}"))),
    }
}

/// Which operation a request is, by method and query.
fn operation(request: &request::Parts, target: &Target) -> Op {
    let copies = request.headers.contains_key("x-amz-copy-source");
    let on_bucket = target.key.is_empty();
    match request.method {
        Method::GET if target.bucket.is_empty() => Op::ListBuckets,
        _ if target.bucket.is_empty() => Op::Unsupported,
        Method::HEAD if on_bucket => Op::HeadBucket,
        Method::PUT if on_bucket && target.pairs().is_empty() => Op::CreateBucket,
        Method::DELETE if on_bucket => Op::DeleteBucket,
        Method::POST if on_bucket && target.has("delete") => Op::DeleteObjects,
        Method::GET if on_bucket && target.has("uploads") => Op::ListMultipartUploads,
        Method::GET if on_bucket && target.query("list-type") == Some("2") => Op::ListObjectsV2,
        Method::GET if on_bucket => {
            let config = [
                "location",
                "versioning",
                "acl",
                "policy",
                "tagging",
                "object-lock",
            ];
            if config.iter().any(|name| target.has(name)) {
                Op::GetBucketConfig
            } else {
                Op::ListObjects
            }
        }
        _ if on_bucket => Op::Unsupported,
        Method::HEAD => Op::HeadObject,
        Method::GET if target.has("uploadId") => Op::ListParts,
        Method::GET if target.has("tagging") => Op::GetObjectTagging,
        Method::GET if target.has("acl") || target.has("attributes") => Op::Unsupported,
        Method::GET => Op::GetObject,
        Method::PUT if target.has("uploadId") && copies => Op::UploadPartCopy,
        Method::PUT if target.has("uploadId") => Op::UploadPart,
        Method::PUT if target.has("tagging") || target.has("acl") => Op::Unsupported,
        Method::PUT if copies => Op::CopyObject,
        Method::PUT => Op::PutObject,
        Method::POST if target.has("uploads") => Op::CreateMultipartUpload,
        Method::POST if target.has("uploadId") => Op::CompleteMultipartUpload,
        Method::DELETE if target.has("uploadId") => Op::AbortMultipartUpload,
        Method::DELETE => Op::DeleteObject,
        _ => Op::Unsupported,
    }
}

async fn handle(
    server: &Arc<Server>,
    request: &request::Parts,
    body: Incoming,
) -> Result<Response<Reply>, S3Error> {
    let target = &Target::parse(request.uri.path(), request.uri.query())?;
    let headers = &request.headers;
    let bucket = target.bucket.as_str();
    let op = operation(request, target);
    server.stats.count(op);
    if !bucket.is_empty() && !server.bucket_exists(bucket) {
        return Err(S3Error::no_such_bucket(bucket));
    }
    match op {
        Op::ListBuckets => Ok(document(lists::buckets(server))),
        Op::HeadBucket | Op::CreateBucket => Ok(status(StatusCode::OK)),
        Op::DeleteBucket => {
            server.check_writable(bucket)?;
            server.sinks().remove(bucket);
            Ok(status(StatusCode::NO_CONTENT))
        }
        Op::GetBucketConfig => lists::bucket_config(target).map(document),
        Op::ListObjects | Op::ListObjectsV2 => {
            if !server.list_delay.is_zero() {
                tokio::time::sleep(server.list_delay).await;
            }
            lists::objects(server, target).map(document)
        }
        Op::GetObject | Op::HeadObject => read::object(server, target, &request.method, headers),
        Op::GetObjectTagging => read::tagging(server, target).map(document),
        Op::PutObject => write::put(server, target, headers, body).await,
        Op::CopyObject => write::copy(server, target, headers).map(document),
        Op::DeleteObject => write::delete(server, target).map(|()| status(StatusCode::NO_CONTENT)),
        Op::DeleteObjects => {
            let body = receive::xml(headers, body).await?;
            write::delete_many(server, bucket, &body).map(document)
        }
        Op::CreateMultipartUpload => multipart::create(server, target, headers).map(document),
        Op::UploadPart => multipart::part(server, target, headers, body).await,
        Op::UploadPartCopy => multipart::part_copy(server, target, headers).map(document),
        Op::CompleteMultipartUpload => {
            let body = receive::xml(headers, body).await?;
            multipart::complete(server, target, headers, &body).map(document)
        }
        Op::AbortMultipartUpload => {
            multipart::abort(server, target).map(|()| status(StatusCode::NO_CONTENT))
        }
        Op::ListParts => lists::parts(server, target).map(document),
        Op::ListMultipartUploads => lists::uploads(server, target).map(document),
        Op::Unsupported => Err(S3Error::not_implemented(format!(
            "{} {}",
            request.method, request.uri
        ))),
    }
}

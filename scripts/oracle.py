"""An S3 client that shares no code with Skyhaul, for tests to prepare and to judge with.

One request a line of JSON on stdin, one answer a line on stdout: {"ok": ...} or
{"error": {"code", "message"}}. A request is {"op", "endpoint": {"url", "access_key",
"secret_key", "region"}, ...the operation's arguments}. Bodies are named by seed and size
(testdata.py), so that no body crosses the pipe.
"""

import concurrent.futures
import functools
import hashlib
import json
import os
import sys

import boto3
import botocore.config
import botocore.exceptions
import testdata

WORKERS = 8
PART = 16 << 20
MULTIPART_FROM = 64 << 20
READ = 1 << 20

# Our field -> boto3's argument, and back from a HEAD or GET answer.
HEADERS = {
    "content_type": "ContentType",
    "content_encoding": "ContentEncoding",
    "content_language": "ContentLanguage",
    "content_disposition": "ContentDisposition",
    "cache_control": "CacheControl",
    "expires": "Expires",
    "storage_class": "StorageClass",
}


@functools.cache
def client_of(url: str, access_key: str, secret_key: str, region: str):
    config = botocore.config.Config(
        s3={"addressing_style": "path"},
        max_pool_connections=2 * WORKERS,
        retries={"mode": "standard", "total_max_attempts": 5},
        # A checksum when we ask for one; not every server under test knows trailers.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region,
        config=config,
    )


def each(work, items: list) -> list:
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(work, items))


def create_bucket(s3, bucket: str) -> None:
    s3.create_bucket(Bucket=bucket)


def enable_versioning(s3, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def attributes(spec: dict) -> dict:
    """boto3's arguments for what an object carries besides its bytes."""
    found = {HEADERS[name]: spec[name] for name in HEADERS if spec.get(name) is not None}
    if spec.get("metadata"):
        found["Metadata"] = spec["metadata"]
    return found


def put_one(s3, bucket: str, spec: dict) -> None:
    key, seed, size = spec["key"], spec["seed"], spec["size"]
    checksum = {"ChecksumAlgorithm": spec["checksum"]} if spec.get("checksum") else {}
    if size >= MULTIPART_FROM or spec.get("part_size"):
        put_in_parts(s3, bucket, spec, checksum)
    else:
        body = testdata.body(seed, size)
        s3.put_object(Bucket=bucket, Key=key, Body=body, **attributes(spec), **checksum)
    if spec.get("tags"):
        tags = [{"Key": name, "Value": value} for name, value in spec["tags"].items()]
        s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": tags})


def put_in_parts(s3, bucket: str, spec: dict, checksum: dict) -> None:
    key, seed, size = spec["key"], spec["seed"], spec["size"]
    part_size = spec.get("part_size") or PART
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, **attributes(spec), **checksum)
    named = {"Bucket": bucket, "Key": key, "UploadId": upload["UploadId"]}

    def put_part(number: int) -> dict:
        start = (number - 1) * part_size
        body = testdata.span(seed, start, min(start + part_size, size))
        answer = s3.upload_part(PartNumber=number, Body=body, **named, **checksum)
        kept = {name: value for name, value in answer.items() if name.startswith("Checksum")}
        kept.pop("ChecksumType", None)
        return {"PartNumber": number, "ETag": answer["ETag"], **kept}

    parts = each(put_part, list(range(1, max(1, -(-size // part_size)) + 1)))
    s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **named)


def put(s3, bucket: str, objects: list[dict]) -> int:
    each(lambda spec: put_one(s3, bucket, spec), objects)
    return len(objects)


def listed(s3, bucket: str, prefix: str) -> list[dict]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [found for page in pages for found in page.get("Contents", [])]


def list_keys(s3, bucket: str, prefix: str = "") -> list[dict]:
    return [
        {"key": found["Key"], "size": found["Size"], "etag": found["ETag"].strip('"')}
        for found in listed(s3, bucket, prefix)
    ]


def snapshot_one(s3, bucket: str, key: str, tags: bool) -> dict:
    """One GET: bytes and headers of the same version."""
    answer = s3.get_object(Bucket=bucket, Key=key)
    digest, size = hashlib.sha256(), 0
    for piece in answer["Body"].iter_chunks(READ):
        digest.update(piece)
        size += len(piece)
    if size != answer["ContentLength"]:
        raise ValueError(f"{key}: {size} bytes read, {answer['ContentLength']} promised")
    found = {
        "key": key,
        "size": size,
        "sha256": digest.hexdigest(),
        "etag": answer["ETag"].strip('"'),
        "last_modified_ms": int(answer["LastModified"].timestamp() * 1000),
        "metadata": answer.get("Metadata", {}),
        "tags": {},
    }
    for name, argument in HEADERS.items():
        value = answer.get(argument)
        found[name] = None if value is None else str(value)
    found["expires"] = answer["ResponseMetadata"]["HTTPHeaders"].get("expires")
    if tags:
        tag_set = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
        found["tags"] = {tag["Key"]: tag["Value"] for tag in tag_set}
    return found


def snapshot(s3, bucket: str, prefix: str = "", tags: bool = True) -> list[dict]:
    keys = [found["Key"] for found in listed(s3, bucket, prefix)]
    return each(lambda key: snapshot_one(s3, bucket, key, tags), keys)


def get(s3, bucket: str, key: str, tags: bool = True) -> dict:
    return snapshot_one(s3, bucket, key, tags)


def delete(s3, bucket: str, keys: list[str]) -> int:
    each(lambda key: s3.delete_object(Bucket=bucket, Key=key), keys)
    return len(keys)


def list_uploads(s3, bucket: str) -> list[dict]:
    found, markers = [], {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, **markers)
        found += [{"key": u["Key"], "upload_id": u["UploadId"]} for u in page.get("Uploads", [])]
        if not page.get("IsTruncated"):
            return found
        markers = {
            "KeyMarker": page["NextKeyMarker"],
            "UploadIdMarker": page["NextUploadIdMarker"],
        }


def open_upload(s3, bucket: str, key: str, seed: int, size: int) -> str:
    """A stranger's upload with one part, left open."""
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    body = testdata.body(seed, size)
    s3.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=1, Body=body)
    return upload_id


def list_parts(s3, bucket: str, key: str, upload_id: str) -> list[dict]:
    pages = s3.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload_id)
    return [
        {"number": part["PartNumber"], "size": part["Size"]}
        for page in pages
        for part in page.get("Parts", [])
    ]


def abort_upload(s3, bucket: str, key: str, upload_id: str) -> None:
    s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)


OPERATIONS = {
    operation.__name__: operation
    for operation in (
        create_bucket, enable_versioning, put, list_keys, snapshot, get, delete,
        list_uploads, open_upload, list_parts, abort_upload,
    )
}  # fmt: skip


def answer(request: dict) -> dict:
    endpoint = request.pop("endpoint")
    operation = OPERATIONS[request.pop("op")]
    s3 = client_of(
        endpoint["url"], endpoint["access_key"], endpoint["secret_key"], endpoint["region"]
    )
    try:
        return {"ok": operation(s3, **request)}
    except botocore.exceptions.ClientError as error:
        detail = error.response.get("Error", {})
        return {"error": {"code": detail.get("Code", "Unknown"), "message": str(error)}}
    except Exception as error:  # the asking test is to see it, whatever it is
        return {"error": {"code": type(error).__name__, "message": str(error)}}


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
    # Nothing is left to be done, and nobody should wait for the interpreter to tidy up.
    os._exit(0)


if __name__ == "__main__":
    main()

"""The store of a development installation: one bucket, and for each namespace a key that opens no more than it needs.

    models/, data/           every namespace reads
    adapters/NAMESPACE/      only that namespace reads and writes
    runs/NAMESPACE/          likewise: checkpoints, and the digests of the data

Called by clara_install and the cluster tests. With another S3 server than the local one, the keys of the environment serve all.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import boto3
import botocore.client
import botocore.exceptions
import urllib3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

BUCKET = "clara"
ARN = f"arn:aws:s3:::{BUCKET}"
REGION = "us-east-1"


def s3(env: Mapping[str, str]) -> Any:
    """A client with the keys of `env`."""
    return boto3.client(
        "s3",
        endpoint_url=env["CLARA_S3_ENDPOINT"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
        config=botocore.client.Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def make_bucket(env: Mapping[str, str]) -> None:
    """The bucket, unless it is there."""
    try:
        s3(env).head_bucket(Bucket=BUCKET)
    except botocore.exceptions.ClientError:
        s3(env).create_bucket(Bucket=BUCKET)


def key_of(namespace: str, env: Mapping[str, str]) -> dict[str, str]:
    """What the namespace's Secret `clara-store` holds. Makes user and policy on the local server; the same at each call."""
    access, secret = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
    if env.get("CLARA_CLUSTER") != "existing":
        secret = hmac.new(secret.encode(), namespace.encode(), hashlib.sha256).hexdigest()
        access = namespace
        _make_user(access, secret, env)
        _allow(namespace, env)
    return {
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_ENDPOINT_URL": env["CLARA_S3_ENDPOINT"],
        "AWS_DEFAULT_REGION": REGION,
    }


def _make_user(access: str, secret: str, env: Mapping[str, str]) -> None:
    """Through versitygw's admin API: its command line would show the secret to every process."""
    account = f"<Account><Access>{access}</Access><Secret>{secret}</Secret><Role>user</Role></Account>"
    props = f"<MutableProps><Secret>{secret}</Secret></MutableProps>"
    made = _admin("/create-user", account, env)
    if made.status == 409:  # it is there
        made = _admin(f"/update-user?access={access}", props, env)
    if made.status >= 300:
        raise RuntimeError(f"no S3 user for {access}: HTTP {made.status} {made.data.decode(errors='replace')[:200]}")


def _admin(path: str, body: str, env: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
    request = AWSRequest("PATCH", env["CLARA_S3_ENDPOINT"] + path, data=body)
    credentials = Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])
    S3SigV4Auth(credentials, "s3", REGION).add_auth(request)
    return urllib3.request("PATCH", request.url, body=body, headers=dict(request.headers.items()))


def _allow(namespace: str, env: Mapping[str, str]) -> None:
    """The bucket's policy with the namespace's part made anew, and the others' as they are."""
    client = s3(env)
    try:
        policy = json.loads(client.get_bucket_policy(Bucket=BUCKET)["Policy"])
    except botocore.exceptions.ClientError:
        policy = {"Version": "2012-10-17", "Statement": []}
    who = {"AWS": [namespace]}
    own = [f"{ARN}/adapters/{namespace}/*", f"{ARN}/runs/{namespace}/*"]
    parts: tuple[tuple[str, list[str], list[str]], ...] = (
        ("reads", ["s3:GetObject"], [f"{ARN}/models/*", f"{ARN}/data/*", *own]),
        ("writes", ["s3:PutObject", "s3:DeleteObject"], own),
        ("lists", ["s3:ListBucket"], [ARN]),
    )
    mine = [
        {"Sid": f"{namespace}-{name}", "Effect": "Allow", "Principal": who, "Action": actions, "Resource": resources}
        for name, actions, resources in parts
    ]
    others = [s for s in policy["Statement"] if s["Principal"] != who]
    client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy | {"Statement": others + mine}))

"""IAM as far as the isolation of gateways depends on it, where MiniStack 1.5.33 with AUTH=true does something else:

- `dynamodb:LeadingKeys` are the partition keys of the items of a call
- variables (`${ec2:SourceInstanceARN}`) in the conditions of policies are what they stand for
- `kms:EncryptionContextKeys` are those of a call, and `aws:SecureTransport` is true: it has no TLS
- what is done to instances and security groups is allowed if it is to each of them, with the tags that it has
- a launch is allowed if all that it touches is: the instance with its volume, interface and tags, the subnet, the
  image, each security group; and making a security group, if the network and the group are
- an instance has credentials of its profile's role, which the hypervisor asks for as its attribute `kernel` (no
  instance here has one); calls with them carry `ec2:SourceInstanceARN`
"""

import functools
import json
import re
import secrets
import urllib.parse

import ministack.core.iam_actions as actions
import ministack.core.iam_evaluator as evaluator
import ministack.services.ec2 as service
import ministack.services.iam as iam
import ministack.services.sts as sts
from replacing import replace

# The partition key of the tables here.
PARTITION_KEY = "pk"
VARIABLE = re.compile(r"\$\{([\w:/-]+)\}")
EQUALS = re.compile(r"(#?\w+)\s*=\s*(:\w+)")

# What is in the place of MiniStack's own, by name.
before: dict = {}


def leading_keys(data: dict) -> list[str]:
    """The partition keys of the items that a call of DynamoDB names."""
    if items := data.get("TransactItems"):
        return [key for item in items for operation in item.values() for key in leading_keys(operation)]
    if requests := data.get("RequestItems"):
        flat = [operation for table in requests.values() for each in table for operation in each.values()]
        return [key for operation in flat for key in leading_keys(operation)]
    named = data.get("Key") or data.get("Item") or {}
    if PARTITION_KEY in named:
        return [named[PARTITION_KEY]["S"]]
    names, values = data.get("ExpressionAttributeNames", {}), data.get("ExpressionAttributeValues", {})
    found = EQUALS.findall(data.get("KeyConditionExpression", ""))
    return [values[value]["S"] for name, value in found if names.get(name, name) == PARTITION_KEY]


def dynamodb_service_context(body: bytes) -> dict:
    context = before["dynamodb_service_context"](body)
    keys = leading_keys(json.loads(body or b"{}"))
    return context | ({"dynamodb:LeadingKeys": keys} if keys else {})


def conditions_met(conditions: dict, context) -> bool:
    def meant(value: object) -> object:
        if isinstance(value, list):
            return [meant(each) for each in value]
        return VARIABLE.sub(lambda name: str(evaluator._resolve_condition_key(name[1], context)), str(value))

    conditions = {operator: {key: meant(value) for key, value in keys.items()}
                  for operator, keys in (conditions or {}).items() if isinstance(keys, dict)}
    return before["_conditions_met"](conditions, context)


def touched(action: str, asked: dict[str, str], region: str) -> list[tuple[str, str, dict]]:
    """What a call touches: the action, the resource and the context of each check."""
    account = service.get_account_id()

    def arn(what: str) -> str:
        return f"arn:aws:ec2:{region}:{account}:{what}"

    def tags(kind: str) -> dict:
        found = {}
        for name, value in asked.items():
            match = re.fullmatch(r"TagSpecification\.(\d+)\.Tag\.(\d+)\.Key", name)
            if match and asked[f"TagSpecification.{match[1]}.ResourceType"] == kind:
                found[f"aws:requesttag/{value}".lower()] = asked[f"TagSpecification.{match[1]}.Tag.{match[2]}.Value"]
        return found

    def has(own: str) -> dict:
        return {f"aws:resourcetag/{tag['Key']}".lower(): tag["Value"] for tag in service._tags.get(own, [])}

    if action not in ("RunInstances", "CreateSecurityGroup"):
        kinds = {"InstanceId": "instance", "GroupId": "security-group"}
        return [(f"ec2:{action}", arn(f"{kinds[name.partition('.')[0]]}/{value}"), has(value))
                for name, value in asked.items() if name.partition(".")[0] in kinds]
    made = {"RunInstances": ["instance", "volume", "network-interface"],
            "CreateSecurityGroup": ["security-group"]}[action]
    checks = [(f"ec2:{action}", arn(f"{kind}/*"), tags(kind)) for kind in made]
    checks += [("ec2:CreateTags", arn(f"{kind}/*"), tags(kind) | {"ec2:createaction": action})
               for kind in made if tags(kind)]
    for name, value in asked.items():
        field = name.rpartition("NetworkInterface.1.")[2].partition(".")[0]
        if field == "SubnetId":
            checks.append((f"ec2:{action}", arn(f"subnet/{value}"), {}))
        elif field == "SecurityGroupId" and action == "RunInstances":
            checks.append((f"ec2:{action}", arn(f"security-group/{value}"), has(value)))
        elif field == "ImageId":
            checks.append((f"ec2:{action}", f"arn:aws:ec2:{region}::image/{value}", {}))
        elif field == "VpcId":
            checks.append((f"ec2:{action}", arn(f"vpc/{value}"), {}))
    return checks


def enforce(access_key, action, kind, region, resource_arn="*", service_context=None):
    name = action.partition(":")[2]
    request = evaluator._signed_request.get()
    if kind == "kms" and request is not None:
        given = json.loads(request.body or b"{}").get("EncryptionContext") or {}
        service_context = (service_context or {}) | {"kms:encryptioncontextkeys": list(given)}
    asked = dict(urllib.parse.parse_qsl(request.body.decode())) if kind == "ec2" and request else {}
    checks = touched(name, asked, region) if asked and not name.startswith("Describe") else []
    if not checks:
        return before["enforce"](access_key, action, kind, region, resource_arn, service_context)
    for checked, resource, context in checks:
        denied = before["enforce"](access_key, checked, kind, region, resource, context)
        if denied:
            return denied
    return None


def principal_keys(credential):
    """What is known of who calls; an instance's credentials say which instance."""
    keys = before["_principal_keys"](credential)
    for session in sts._sessions.values():
        if session.get("SourceInstance") and session["Arn"] == credential.principal_arn:
            keys = keys | {"ec2:sourceinstancearn": session["SourceInstance"]}
    return keys


def credentials(instance: dict) -> dict[str, str]:
    """Of the role of an instance's profile; the same as long as the instance lives."""
    if known := instance.get("Credentials"):
        return known
    account, own = service.get_account_id(), instance["InstanceId"]
    profile = instance["Remembered"]["profile"].rpartition("/")[2]
    profiles = [each for each in iam._instance_profiles.values() if each["InstanceProfileName"] == profile]
    roles = [role if isinstance(role, str) else role["RoleName"] for each in profiles for role in each["Roles"]]
    given = {"AccessKeyId": f"ASIA{secrets.token_hex(8).upper()}", "SecretAccessKey": secrets.token_hex(20),
             "Token": secrets.token_hex(32)}
    if roles:
        sts.register_session(given["AccessKeyId"], {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{roles[0]}/{own}", "UserId": f"{roles[0]}:{own}",
            "SecretAccessKey": given["SecretAccessKey"], "SessionToken": given["Token"],
            "SourceInstance": f"arn:aws:ec2:{service.get_region()}:{account}:instance/{own}"})
    instance["Credentials"] = given
    return given


def install() -> None:
    """Puts all of this in its place."""
    replace(before, actions, dynamodb_service_context=dynamodb_service_context)
    replace(before, evaluator, enforce=enforce, _conditions_met=conditions_met,
            _principal_keys=principal_keys,
            EvalContext=functools.partial(evaluator.EvalContext, secure_transport=True))

"""EC2 as far as launches depend on it, where MiniStack 1.5.33 does something else:

- `ClientToken`: the same request gives the same instance, another one `IdempotentParameterMismatch`, and
  one whose instance has ended `IdempotentInstanceTerminated`
- the parameters of `NetworkInterface.1` (subnet, security groups, no public address), by which launches
  without a default network name them
- an instance is in its subnet's zone and network, with a free address of the subnet
- spot instances say that they are; what an instance does at its own shutdown is kept, and its user data
- `InsufficientInstanceCapacity` for the types of which there are never any (MISSING), and when asked for
- a security group that a living instance uses cannot be deleted (`DependencyViolation`)
- each range of a permission is a rule of its own, added and revoked by itself
- an inbound rule that is there already is refused (`InvalidPermission.Duplicate`), and so is the end of one
  that is not there (`InvalidPermission.NotFound`): nothing of the call is done

Still different from the service: an instance runs at once and ends at once, everything is consistent at
once, and no quota is ever reached.
"""

import contextvars
import ipaddress
import json
import re
import threading

import faults
import iam
import ministack.services.ec2 as service
from replacing import replace

# Types that can never be had.
MISSING = frozenset({"u-24tb1.metal"})

# Of the launch under way: what the instance is to remember.
launching: contextvars.ContextVar[dict] = contextvars.ContextVar("launching", default={})

parameter = service._p
error = service._error

# One launch at a time: two with one token must not both look for it before one has it.
one_launch = threading.RLock()
# By account, region and client token: the request and the ids of its instances.
tokens: dict[tuple[str, str, str], tuple[tuple, list[str], tuple]] = {}

# What is in the place of MiniStack's own, by name.
before: dict = {}


def instance_ids(reply) -> list[str]:
    body = reply[2] if isinstance(reply[2], str) else reply[2].decode()
    return list(dict.fromkeys(re.findall(r"<instanceId>(i-[0-9a-f]+)</instanceId>", body)))


def living(instance_id: str) -> bool:
    instance = service._instances.get(instance_id)
    return instance is not None and instance["State"]["Name"] != "terminated"


def interface(request: dict) -> dict:
    """The request with what its first network interface says where MiniStack reads it."""
    request = dict(request)
    prefix = "NetworkInterface.1."
    if subnet := parameter(request, prefix + "SubnetId"):
        request["SubnetId"] = subnet
    number = 1
    while group := parameter(request, f"{prefix}SecurityGroupId.{number}"):
        request[f"SecurityGroupId.{number}"] = group
        number += 1
    return request


def run_instances(request: dict):
    token = parameter(request, "ClientToken")
    key = (service.get_account_id(), service.get_region(), token)
    words = tuple(
        sorted(
            (name, str(value))
            for name, value in request.items()
            if name not in ("Action", "Version")
        )
    )
    with one_launch:
        if token and key in tokens:
            known, ids, reply = tokens[key]
            if known != words:
                message = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
                return error("IdempotentParameterMismatch", message, 400)
            if not all(living(each) for each in ids):
                message = "The client token has already been used, and its instance has been terminated."
                return error("IdempotentInstanceTerminated", message, 400)
            return reply
        kind = parameter(request, "InstanceType")
        if kind in MISSING or faults.short_of_capacity(kind):
            message = "We currently do not have sufficient capacity in the Availability Zone you requested."
            return error("InsufficientInstanceCapacity", message, 500)
        request = interface(request)
        subnet = parameter(request, "SubnetId")
        if subnet and subnet not in service._subnets:
            message = f"The subnet ID '{subnet}' does not exist"
            return error("InvalidSubnetID.NotFound", message, 400)
        if not parameter(request, "ImageId"):
            return error("MissingParameter", "The request must contain the parameter ImageId", 400)
        public = parameter(request, "NetworkInterface.1.AssociatePublicIpAddress")
        launching.set(
            {
                "user_data": parameter(request, "UserData") or "",
                "shutdown": parameter(request, "InstanceInitiatedShutdownBehavior") or "stop",
                "profile": parameter(request, "IamInstanceProfile.Arn") or "",
                "spot": parameter(request, "InstanceMarketOptions.MarketType") == "spot",
                "public": public != "false",
            }
        )
        reply = before["RunInstances"](request)
        if reply[0] == 200 and token:
            tokens[key] = (words, instance_ids(reply), reply)
        return reply


def launch(*arguments, **named):
    instances = before["_launch_instances_internal"](*arguments, **named)
    for instance in instances:
        settle(instance)
        instance["Remembered"] = launching.get()
        if not launching.get().get("public", True):
            instance["PublicIpAddress"] = instance["PublicDnsName"] = ""
    return instances


def settle(instance: dict) -> None:
    """Gives an instance a free address of its subnet; the first four are the network's own."""
    subnet = service._subnets.get(instance["SubnetId"])
    if not subnet or not subnet.get("CidrBlock"):
        return
    taken = {
        each["PrivateIpAddress"]
        for each in service._instances.values()
        if each["SubnetId"] == instance["SubnetId"]
        and each is not instance
        and each["State"]["Name"] != "terminated"
    }
    hosts = ipaddress.ip_network(subnet["CidrBlock"]).hosts()
    address = next(
        str(host) for number, host in enumerate(hosts) if number > 3 and str(host) not in taken
    )
    instance["PrivateIpAddress"] = address
    instance["PrivateDnsName"] = f"ip-{address.replace('.', '-')}.ec2.internal"
    instance["Placement"]["AvailabilityZone"] = subnet["AvailabilityZone"]
    instance["VpcId"] = subnet["VpcId"]


def instance_xml(instance: dict) -> str:
    text = before["_instance_xml"](instance)
    if instance.get("Remembered", {}).get("spot"):
        opening = text.index("<item>") + len("<item>")
        text = text[:opening] + "<instanceLifecycle>spot</instanceLifecycle>" + text[opening:]
    if not instance["PublicIpAddress"]:
        text = re.sub(r"<(dnsName|ipAddress)></\1>", "", text)
    return text


def describe_instance_attribute(request: dict):
    instance = service._instances.get(parameter(request, "InstanceId"))
    remembered = (instance or {}).get("Remembered")
    if remembered and parameter(request, "Attribute") == "kernel":
        value = f"<kernel><value>{json.dumps(iam.credentials(instance))}</value></kernel>"
        body = f"<instanceId>{instance['InstanceId']}</instanceId>{value}"
        return service._xml(200, "DescribeInstanceAttributeResponse", body)
    kept = {"instanceInitiatedShutdownBehavior": "shutdown", "userData": "user_data"}
    name = parameter(request, "Attribute")
    if remembered and name in kept:
        value = f"<{name}><value>{remembered[kept[name]]}</value></{name}>"
        body = f"<instanceId>{instance['InstanceId']}</instanceId>{value}"
        return service._xml(200, "DescribeInstanceAttributeResponse", body)
    return before["DescribeInstanceAttribute"](request)


def delete_security_group(request: dict):
    group = parameter(request, "GroupId")
    for instance in service._instances.values():
        if instance["State"]["Name"] != "terminated" and any(
            each["GroupId"] == group for each in instance["SecurityGroups"]
        ):
            return error("DependencyViolation", f"resource {group} has a dependent object", 400)
    return before["DeleteSecurityGroup"](request)


def single_rules(request: dict, prefix: str) -> list[dict]:
    """The permissions of a request, cut into rules of one range each."""
    kinds = ("IpRanges", "Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs")
    return [
        {**rule, **{each: [] for each in kinds}, kind: [where]}
        for rule in before["_parse_ip_permissions"](request, prefix)
        for kind in kinds
        for where in rule[kind]
    ]


def rules(permissions: list[dict]) -> set[tuple]:
    return {
        (rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort"), where)
        for rule in permissions
        for where in [
            *(each.get("CidrIp") for each in rule["IpRanges"]),
            *(each.get("CidrIpv6") for each in rule["Ipv6Ranges"]),
        ]
    }


def authorize_ingress(request: dict):
    group = service._security_groups.get(parameter(request, "GroupId"))
    wanted = rules(service._parse_ip_permissions(request, "IpPermissions"))
    if group and wanted & rules(group["IpPermissions"]):
        return error("InvalidPermission.Duplicate", "the specified rule already exists", 400)
    return before["AuthorizeSecurityGroupIngress"](request)


def revoke_ingress(request: dict):
    group = service._security_groups.get(parameter(request, "GroupId"))
    unwanted = rules(service._parse_ip_permissions(request, "IpPermissions"))
    if group and unwanted - rules(group["IpPermissions"]):
        message = "The specified rule does not exist in this security group."
        return error("InvalidPermission.NotFound", message, 400)
    return before["RevokeSecurityGroupIngress"](request)


def install() -> None:
    """Puts all of this in its place."""
    ours = {
        "RunInstances": run_instances,
        "DescribeInstanceAttribute": describe_instance_attribute,
        "DeleteSecurityGroup": delete_security_group,
        "AuthorizeSecurityGroupIngress": authorize_ingress,
        "RevokeSecurityGroupIngress": revoke_ingress,
    }
    for action, handler in ours.items():
        before[action] = service._ACTION_MAP[action]
        service._ACTION_MAP[action] = handler
    replace(before, service, _launch_instances_internal=launch, _parse_ip_permissions=single_rules,
            _instance_xml=instance_xml)

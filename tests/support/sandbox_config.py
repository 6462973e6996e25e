"""The configuration that a sandbox runs on: what is generated, and how a --config file is merged over it."""
import os

import yaml

from processes import Trouble

TEAMS = ("general", "billing", "quality", "service", "technical", "logistics", "aftersales", "safety", "privacy")
CATEGORY_TEAMS = {
    "billing": "billing",
    "product-quality": "quality",
    "service-attitude": "service",
    "technical": "technical",
    "delivery": "logistics",
    "after-sales": "aftersales",
    "safety": "safety",
    "privacy": "privacy",
    "other": "general",
}
DESK_ADDRESS = "care@example.com"
ACCOUNT_SID = "AC" + "5" * 32


def merge(base, over):
    """`over` on top of `base`: mappings key by key, lists of mappings with a `name` entry by entry, the rest replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        merged = dict(base)
        for key, value in over.items():
            merged[key] = merge(base[key], value) if key in base else value
        return merged
    if named(base) and named(over):
        merged = {entry["name"]: entry for entry in base}
        for entry in over:
            name = entry["name"]
            merged[name] = merge(merged[name], entry) if name in merged else entry
        return list(merged.values())
    return over


def named(value):
    return isinstance(value, list) and bool(value) and all(isinstance(e, dict) and "name" in e for e in value)


def contact(name, number):
    return {"name": name, "mail": f"{name}@staff.example", "sms": f"+86138001380{number:02d}", "webhook": "chat"}


def generated(box):
    """The sandbox's configuration in two parts: what a --config file may change, and what it may not."""
    p = box.state["ports"]
    defaults = {
        "instance": "sandbox",
        "hostname": "complaints.example.com",
        "trusted_clients": ["127.0.0.0/8", "::1"],
        "triage": {"fallback_team": "general"},
        "mail": {"from": DESK_ADDRESS, "from_name": "Example customer care", "lmtp_access": "all"},
        "desks": [
            {
                "name": "care",
                "addresses": [DESK_ADDRESS],
                "languages": ["en", "zh"],
                "brand": "Example",
                "default_team": "general",
                "policy": "standard",
                "phone_country": "86",
            }
        ],
        "teams": [contact(name, i) for i, name in enumerate(TEAMS)],
        "contacts": [contact("supervisor", 98), contact("manager", 99)],
        "categories": [{"name": c, "team": t} for c, t in CATEGORY_TEAMS.items()],
        "default_policy": "standard",
        "rules": [os.path.join(box.dir, "rules", "*.yaml")],
        "policies": [os.path.join(box.dir, "policies", "*.yaml")],
        "calendars": [os.path.join(box.dir, "calendars", "*.yaml")],
        "templates": os.path.join(box.dir, "templates"),
        "clients": [
            {"name": "sandbox", "role": "intake", "desk": "care"},
            {"name": "sandbox-agent", "role": "agent", "desk": "care", "token": box.state["agent_token"]},
            {"name": "sandbox-admin", "role": "admin", "desk": "care"},
        ],
        "webhooks": [{"name": "chat"}],
        "sms": {"providers": [{"name": "main", "provider": "twilio", "from": "+18005551212", "desk": "care"}]},
    }
    sink = f"http://127.0.0.1:{p['sink_http']}"
    fixed = {
        "state_dir": os.path.join(box.dir, "state"),
        "database": {"dsn": box.dsn()},
        "mail": {
            "listen": [f"127.0.0.1:{p['smtp']}"],
            "lmtp_listen": ["unix:" + box.lmtp_socket()],
            "relay": {"host": "127.0.0.1", "port": p["sink_smtp"], "tls": "none"},
            "relays": [],  # nothing leaves a sandbox but to its sink
        },
        "http": {"listen": [f"127.0.0.1:{p['http']}"]},
        "metrics": {"listen": [f"127.0.0.1:{p['metrics']}"]},
        "line": {"listen": [f"127.0.0.1:{p['line']}", "unix:" + box.control_socket()]},
        "clients": [
            {"name": "sandbox", "token": box.state["line_token"]},
            {"name": "sandbox-admin", "token": box.state["admin_token"]},
        ],
        "webhooks": [{"name": "chat", "url": sink + "/hooks/chat", "secret": box.state["webhook_secret"]}],
        "sms": {
            "providers": [
                {
                    "name": "main",
                    "public_url": f"http://127.0.0.1:{p['http']}",
                    "account_sid": ACCOUNT_SID,
                    "auth_token": box.state["sms_token"],
                    "api_url": sink,
                }
            ]
        },
    }
    return defaults, fixed


def read_overlay(path):
    """A --config file: its relative paths are relative to where it stands."""
    with open(path, encoding="utf-8") as f:
        try:
            over = yaml.safe_load(f)
        except yaml.YAMLError as e:
            raise Trouble(f"{path}: {e}") from e
    if over is None:
        return {}
    if not isinstance(over, dict):
        raise Trouble(f"{path}: a mapping is wanted")
    here = os.path.dirname(os.path.abspath(path))
    for key in ("rules", "policies", "calendars"):
        if isinstance(over.get(key), list):
            over[key] = [os.path.join(here, p) if isinstance(p, str) else p for p in over[key]]
    if isinstance(over.get("templates"), str):
        over["templates"] = os.path.join(here, over["templates"])
    return over

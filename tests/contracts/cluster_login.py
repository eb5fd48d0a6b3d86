"""What the pod `login` runs: the tests' OpenID Connect provider, open to the cluster."""

import uvicorn
from oidc_provider import Provider

MAP = "http://map.groundshift.example.com"
PEOPLE = {
    "ann": {"email": "ann@example.com", "role": "analyst", "tenant": "local"},
    "vic": {"email": "vic@example.com", "role": "viewer", "tenant": "local"},
    "eve": {"email": "eve@example.com", "role": "analyst", "tenant": "elsewhere"},
}

if __name__ == "__main__":
    login = Provider(
        PEOPLE,
        redirects={f"{MAP}/oauth2callback", f"{MAP}/"},
        url="http://login.groundshift.svc.cluster.local",
    )
    uvicorn.run(login.app(), host="0.0.0.0", port=8080, log_level="warning")

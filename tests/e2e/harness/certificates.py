"""Certificate authorities and certificates for nodes, made with openssl."""

import subprocess

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(*words):
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"openssl {' '.join(map(str, words))}: {done.stderr}"


class Authority:
    """One that signs certificates, in a directory of its own."""

    def __init__(self, directory, name):
        self.directory, self.name = directory / name, name
        self.directory.mkdir(parents=True)
        self.certificate, self.key = self.directory / "ca.crt", self.directory / "ca.key"
        openssl("req", "-x509", *CURVE, "-keyout", self.key, "-out", self.certificate, "-days", "30",
                "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name, address):
        """A certificate for a node that is reached under an address; returns the paths of it and of its key."""
        certificate, key, request = (self.directory / f"{name}.{kind}" for kind in ("crt", "key", "csr"))
        openssl("req", *CURVE, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth,clientAuth\n"
                              "basicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                "-out", certificate, "-days", "30", "-extfile", extensions)
        return certificate, key

    def settings(self, name, address, trusts=None):
        """What a node's file says to show such a certificate, and to admit those of this authority, or of another."""
        certificate, key = self.issue(name, address)
        authority = (trusts or self).certificate
        return f'[transport]\ntls_ca = "{authority}"\ntls_cert = "{certificate}"\ntls_key = "{key}"\n'

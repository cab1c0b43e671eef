"""A mail server that keeps what it is sent: aiosmtpd with TLS.

smtp_server.py PORT plain|starttls|implicit CERT KEY DIRECTORY [USER PASSWORD]
Each mail becomes DIRECTORY/N.json; a sender called `later@` is refused for now, `never@` for good.
"""

import asyncio
import json
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


class Keeper:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.count = 0

    async def handle_MAIL(self, server, session, envelope, address, options):
        if address.startswith("later@"):
            return "451 4.3.0 come back later"
        if address.startswith("never@"):
            return "550 5.7.1 not from you"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "text": envelope.content.decode("utf-8", "replace"),
            "tls": session.ssl is not None or isinstance(server.transport.get_extra_info("ssl_object"), ssl.SSLObject),
            "authenticated": bool(session.authenticated),
        }
        self.count += 1
        part = self.directory / f"{self.count}.part"
        part.write_text(json.dumps(mail))
        part.rename(self.directory / f"{self.count}.json")
        return "250 2.0.0 kept"


def main():
    port, mode, cert, key, directory = sys.argv[1:6]
    user = sys.argv[6:8]
    options = {"enable_SMTPUTF8": True}
    context = None
    if mode != "plain":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
    if mode == "starttls":
        options.update(tls_context=context, require_starttls=True)
    if user:

        def check(server, session, envelope, mechanism, data):
            good = data.login.decode() == user[0] and data.password.decode() == user[1]
            return AuthResult(success=good, handled=False)

        options.update(authenticator=check, auth_required=True, auth_require_tls=mode == "starttls")
    keeper = Keeper(directory)

    async def serve():
        server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(keeper, **options),
            "127.0.0.1",
            int(port),
            ssl=context if mode == "implicit" else None,
        )
        await server.serve_forever()

    asyncio.run(serve())


main()

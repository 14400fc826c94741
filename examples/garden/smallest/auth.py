from yugen.auth import Auth, EmailPassword

auth = Auth(EmailPassword())

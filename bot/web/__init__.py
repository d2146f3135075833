"""The staff's side of the shell: sign-in, roles, the JSON API, live news, and the built pages."""

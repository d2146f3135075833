// The page's policy allows no inline script, so the start of Swagger UI has a file of its own.
window.SwaggerUIBundle({
  url: '/api/openapi.json',
  dom_id: '#docs',
  deepLinking: true,
  validatorUrl: null, // nothing is sent to a validator outside
  requestInterceptor(request) {
    request.credentials = 'same-origin'
    return request
  },
})

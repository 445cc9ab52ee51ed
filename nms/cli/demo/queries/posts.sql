-- name: list_posts()
select id, json_build_object('id', id, 'userId', user_id, 'title', title, 'body', body)::text as record
from public.posts;

-- name: list_comments()
select id, json_build_object('id', id, 'postId', post_id, 'name', name, 'email', email, 'body', body)::text as record
from public.comments;
